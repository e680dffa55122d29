package docs

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"
)

// Terminal returns an SVG of a terminal that shows the transcript. Lines that begin with "$ " are
// what was typed, lines that begin with "# " say what happens, and lines longer than columns are
// wrapped.
func Terminal(title, transcript string, columns int) string {
	const size, leading, edge = 13, 18, 16
	type row struct{ text, style string }
	var rows []row
	for line := range strings.SplitSeq(strings.TrimRight(transcript, "\n"), "\n") {
		style := `fill="#d6d6d6"`
		switch {
		case strings.HasPrefix(line, "$ "):
			style = `fill="#8fd18f"`
		case strings.HasPrefix(line, "# "):
			style = `fill="#8fb8e0" font-style="italic"`
		}
		for _, part := range wrap(line, columns) {
			rows = append(rows, row{part, style})
		}
	}
	width, height := 2*edge+columns*size*6/10, 2*edge+len(rows)*leading
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="monospace" font-size="%d">`+"\n", width, height, size)
	fmt.Fprintf(&out, "<title>%s</title>\n", html.EscapeString(title))
	fmt.Fprintf(&out, `<rect width="%d" height="%d" rx="8" fill="#1e1e1e"/>`+"\n", width, height)
	for i, r := range rows {
		if r.text != "" {
			fmt.Fprintf(&out, `<text x="%d" y="%d" xml:space="preserve" %s>%s</text>`+"\n", edge, edge+(i+1)*leading-5, r.style, html.EscapeString(r.text))
		}
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// wrap breaks a line at spaces into parts of at most so many characters. All but the first are
// indented.
func wrap(line string, columns int) (parts []string) {
	for utf8.RuneCountInString(line) > columns {
		head := string([]rune(line)[:columns])
		at := strings.LastIndex(head, " ")
		if strings.TrimSpace(head[:max(at, 0)]) == "" { // it has no space to break at
			at = len(head)
		}
		parts = append(parts, line[:at])
		line = "    " + strings.TrimLeft(line[at:], " ")
	}
	return append(parts, line)
}
