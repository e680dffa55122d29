package main

// The program as a whole: its commands, flags, streams and exit statuses.

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// Exit statuses; the help of the root command describes them.
const (
	statusFailure     = 1
	statusUsage       = 2
	statusAttention   = 3 // a person must act
	statusAgain       = 4 // it may go by itself
	statusInterrupted = 130
)

const about = `c8auth keeps the API tokens of Communic8 fresh in AWS and gives them to whom IAM
allows. This is its operator's tool. It finds a deployment by the name of its
CloudFormation stack, and uses the AWS configuration that the aws command uses:
environment, profiles, SSO.

Exit status:
  0    done
  1    it failed
  2    the command line is wrong
  3    a person must act: no credentials are stored, or status or doctor has found
       something wrong
  4    it may pass by itself: something is busy or cannot be reached, or there is no
       token yet
  130  stopped by Ctrl-C`

// program is one run of the tool.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	stack, region, profile string
	json, plain            bool

	started bool // a command has: what went wrong before is the command line
}

// run is the whole program: it returns the exit status. What a person or a program asked
// for goes to stdout, everything else to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(append([]string{}, args...)) // of nil it would make os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	child, ran := errors.AsType[ended](err)
	switch {
	case ran:
		return int(child)
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return statusInterrupted
	case !p.started:
		err = &failure{status: statusUsage, error: err, do: command.CommandPath() + " --help"}
	}
	return p.report(err)
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "c8auth",
		Short: "Operate c8auth, which keeps Communic8's tokens fresh",
		Long:  about,
		Example: `  c8auth credentials set default --now
  c8auth status --watch
  c8auth doctor
  curl -H "$(c8auth token default --header)" "https://acme.communic8.com/int/v1/broadcast?limit=1"
  source <(c8auth completion bash)`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&p.stack, "stack", cmp.Or(os.Getenv("C8AUTH_STACK"), "c8auth"), "name of the CloudFormation stack; also C8AUTH_STACK")
	flags.StringVar(&p.region, "region", "", "AWS region; also AWS_REGION, or the profile's")
	flags.StringVar(&p.profile, "profile", "", "AWS profile; also AWS_PROFILE")
	flags.BoolVar(&p.json, "json", false, "print JSON, for programs")
	flags.BoolVar(&p.plain, "no-color", false, "no colour, as where there is no terminal; also NO_COLOR")
	root.AddCommand(p.tokenCommand(), p.proxyCommand(), p.rotateCommand(), p.grantCommand(), p.credentialsCommand(), p.statusCommand(), p.doctorCommand())
	return root
}

// version is what the build says: of a release its tag, of anything else the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return info.Main.Version
}

// does makes a command of f. Errors of cobra's own come before it.
func (p *program) does(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		p.started = true
		return f(command.Context(), args)
	}
}

// oneTenant is what most commands take.
func oneTenant(command *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(1)(command, args); err != nil {
		return err
	}
	return c8auth.CheckTenant(args[0])
}

// completeTenant completes a command's first argument.
func (p *program) completeTenant(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(command.Context(), 3*time.Second)
	defer cancel()
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cfg, err := p.aws(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := (&deployment{Config: cfg, name: p.stack}).tenants(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// failure is an error that leads on.
type failure struct {
	error         // what happened
	do     string // what to do about it, or empty
	status int    // of the exit; 0 means 1
}

func (f *failure) Unwrap() error { return f.error }

// fail returns an error with what to do about it.
func fail(status int, do, format string, args ...any) error {
	return &failure{fmt.Errorf(format, args...), do, status}
}

// report prints an error and returns the exit status.
func (p *program) report(err error) int {
	fmt.Fprintln(p.stderr, p.paint(p.stderr, red, "c8auth:"), strings.TrimPrefix(err.Error(), "c8auth: "))
	f, ok := errors.AsType[*failure](err)
	if !ok {
		return statusFailure
	}
	if f.do != "" {
		fmt.Fprintln(p.stderr, "  Do:", f.do)
	}
	return cmp.Or(f.status, statusFailure)
}

// show prints v as JSON.
func (p *program) show(v any) error {
	out := json.NewEncoder(p.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// say prints a line for people: nothing, where show prints JSON.
func (p *program) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.stdout, format+"\n", args...)
	}
}

// What paint takes.
const (
	red   = "31"
	green = "32"
	bold  = "1"
)

// paint gives text a colour, if w is a terminal whose user has not said no.
func (p *program) paint(w io.Writer, colour, text string) string {
	if p.plain || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !isTerminal(w) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// span is a duration for people, in its two largest units.
func span(d time.Duration) string {
	units := []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, large := range units[:3] {
		if d >= large.unit {
			small := units[i+1]
			return fmt.Sprintf("%d %s %d %s", d/large.unit, large.name, d%large.unit/small.unit, small.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// isTerminal reports whether a stream is one.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
