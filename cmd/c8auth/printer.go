package main

// The only way to the standard output and the standard error.

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

// printer writes to a stream. Whatever text comes from outside, of AWS, of Communic8 or of
// a log, it shows control characters and does not send them: they could forge lines or clear
// the screen.
type printer struct {
	stream   io.Writer
	terminal any  // that the stream leads to
	escapes  bool // the stream understands escape sequences
	plain    bool // no colours
	answered bool // JSON was printed

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

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// send is where every byte passes.
func (p *printer) send(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.stream, text); p.err == nil {
		p.err = err
	}
}

// Write implements io.Writer, for text with lines and tabs.
func (p *printer) Write(text []byte) (int, error) {
	p.send(visible(string(text), "\n\t"))
	return len(text), p.failed()
}

// failed returns the first failure.
func (p *printer) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// printf prints text of ours, which may have several lines, with arguments from anywhere,
// which may not.
func (p *printer) printf(format string, args ...any) { p.send(sprintf(format, args...)) }

// styled prints text, which is visible, in a style.
func (p *printer) styled(style, text string) {
	if style != "" && p.escapes && !p.plain {
		text = "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	p.send(text)
}

// clear empties the screen or, where that cannot be, prints an empty line.
func (p *printer) clear() {
	if p.escapes {
		p.send("\x1b[H\x1b[2J")
	} else {
		p.send("\n")
	}
}

// json prints v, with escapes for characters that do not print.
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

// sprintf is fmt.Sprintf with control characters of its arguments made visible.
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

// visible returns text with characters that do not print in Go's notation: \x1b, \u202e.
// Those in except stay as they are.
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

// maxError is how long an error is that is shown, in characters.
const maxError = 500

// shorten cuts text to maxError.
func shorten(text string) string {
	if utf8.RuneCountInString(text) <= maxError {
		return text
	}
	return string([]rune(text)[:maxError-1]) + "…"
}
