package main

// Lines and tables for a terminal of any width.

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// columns returns the width of the terminal, or 0 if the stream is not one.
func (p *printer) columns() int {
	file, ok := p.terminal.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// line prints head, which gets the style, and then the formatted text. It wraps both at the width
// of the terminal, and indents all lines but the first.
func (p *printer) line(style, head string, indent int, format string, args ...any) {
	head = visible(head, "")
	text := wrap(head+sprintf(format, args...), p.columns(), indent)
	if format == "" {
		head = text // all of it, with its line breaks, gets the style
	}
	p.styled(style, head)
	p.send(text[len(head):] + "\n")
}

// wrap breaks text at spaces into lines of the width, and indents all but the first. Width 0 means
// no limit. A word is never split. In a command, between backquotes, a line that continues ends
// with a backslash, so that a copy of the lines is the same command.
func wrap(text string, width, indent int) string {
	const escape = ` \`
	var out strings.Builder
	column, command := 0, false
	for i, word := range strings.Split(text, " ") {
		n, room := utf8.RuneCountInString(word), width
		goesOn := command != (strings.Count(word, "`")%2 == 1)
		if goesOn {
			room -= len(escape)
		}
		switch {
		case i == 0:
		case width > 0 && column > indent && column+1+n > room:
			if command {
				out.WriteString(escape)
			}
			out.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += n
		command = goesOn
	}
	return out.String()
}

// nothing is a cell without a value.
const nothing = "–"

// row is a row of a table, with the style of its text.
type row struct {
	style string
	cells []string
}

// table prints rows below a header. If they are wider than the terminal, it prints each row as a
// block of lines.
func (p *printer) table(header []string, rows []row) {
	widths, total := make([]int, len(header)), -2
	for i := range header {
		widths[i] = utf8.RuneCountInString(header[i])
		for _, r := range rows {
			r.cells[i] = visible(r.cells[i], "")
			widths[i] = max(widths[i], utf8.RuneCountInString(r.cells[i]))
		}
		total += widths[i] + 2
	}
	if width := p.columns(); width > 0 && total > width {
		for _, r := range rows {
			p.send("\n")
			p.line(r.style, r.cells[0], 2, "")
			for i, cell := range r.cells[1:] {
				if cell != nothing {
					p.line("", "", 20, "  %-16s  %s", strings.ToLower(header[i+1]), cell)
				}
			}
		}
		return
	}
	p.send("\n")
	for _, r := range append([]row{{bold, header}}, rows...) {
		var text strings.Builder
		for i, cell := range r.cells {
			text.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		p.styled(r.style, strings.TrimRight(text.String(), " "))
		p.send("\n")
	}
}
