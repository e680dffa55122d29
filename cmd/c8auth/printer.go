package main

// All output to the standard output and the standard error.

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
