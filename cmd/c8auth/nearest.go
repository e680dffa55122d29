package main

// nearest returns the name that was most likely meant: the one that differs from what was
// typed in the fewest characters, two at most and no more than half of them. It is empty if there is none.
func nearest(typed string, names []string) string {
	best, least := "", 3
	for _, name := range names {
		if n := distance(typed, name); n < least && 2*n <= len(name) {
			best, least = name, n
		}
	}
	return best
}

// distance returns how many characters must be added, removed, replaced or swapped with
// the next one to make b of a.
func distance(a, b string) int {
	rows := [][]int{make([]int, len(b)+1)} // rows[i][j] is the distance of a[:i] and b[:j]
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := append([]int{i}, make([]int, len(b))...)
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(rows[i-1][j]+1, row[j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], rows[i-2][j-2]+1)
			}
		}
		rows = append(rows, row)
	}
	return rows[len(a)][len(b)]
}
