package main

// All output to the standard output and the standard error, on a terminal of any width.

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// printer writes to a stream. In text from AWS, Communic8 or a log, it replaces control characters
// by visible ones, because they could forge lines or clear the screen. It may be used
// concurrently.
type printer struct {
	stream   io.Writer
	terminal any  // the stream, or the one that a buffered stream is copied to
	escapes  bool // whether the terminal supports escape sequences
	plain    bool // whether to leave out colours
	answered bool // whether JSON was printed

	mu  sync.Mutex
	err error // of the first write that failed
}

func newPrinter(stream io.Writer) *printer {
	return &printer{stream: stream, terminal: stream, escapes: isTerminal(stream) && os.Getenv("TERM") != "dumb", plain: os.Getenv("NO_COLOR") != ""}
}

// The styles of a terminal.
const (
	red   = "31"
	green = "32"
	bold  = "1"
)

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// send writes text as it is. All output passes through it.
func (p *printer) send(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.stream, text); p.err == nil {
		p.err = err
	}
}

// Write implements io.Writer. It sends line breaks and tabs as they are.
func (p *printer) Write(text []byte) (int, error) {
	p.send(visible(string(text), "\n\t"))
	return len(text), p.failed()
}

// failed returns the error of the first write that failed, or nil.
func (p *printer) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// printf prints formatted text. Line breaks of format are sent, those of arguments are not.
func (p *printer) printf(format string, args ...any) { p.send(sprintf(format, args...)) }

// styled prints text, which must have no control characters, in a style.
func (p *printer) styled(style, text string) {
	if style != "" && p.escapes && !p.plain {
		text = "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	p.send(text)
}

// clear clears the terminal. On another stream it prints an empty line.
func (p *printer) clear() {
	if p.escapes {
		p.send("\x1b[H\x1b[2J")
	} else {
		p.send("\n")
	}
}

// json prints v as JSON, with escapes for characters that are not printable.
func (p *printer) json(v any) error {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	var ascii strings.Builder
	for _, r := range text.String() {
		if r == '\n' || unicode.IsPrint(r) {
			ascii.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&ascii, `\u%04x`, unit)
		}
	}
	p.answered = true
	p.send(ascii.String())
	return p.failed()
}

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

// sprintf is fmt.Sprintf with the control characters of its arguments made visible.
func sprintf(format string, args ...any) string {
	shown := make([]any, len(args))
	for i, arg := range args {
		switch reflect.ValueOf(arg).Kind() {
		case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
			shown[i] = arg
		default:
			shown[i] = visible(fmt.Sprint(arg), "")
		}
	}
	return fmt.Sprintf(format, shown...)
}

// visible returns text with Go's escapes, such as \x1b, for characters that are not printable and
// not in except.
func visible(text, except string) string {
	var out strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) || strings.ContainsRune(except, r) {
			out.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		out.WriteString(quoted[1 : len(quoted)-1])
	}
	return out.String()
}

// maxError is the longest error that is shown, in characters.
const maxError = 500

// shorten cuts text to maxError.
func shorten(text string) string {
	if utf8.RuneCountInString(text) <= maxError {
		return text
	}
	return string([]rune(text)[:maxError-1]) + "…"
}
