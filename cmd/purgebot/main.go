// Command purgebot purges Akamai's cache when a site's repository is deployed.
//
// This package is the command line alone. Each command reads its flags, calls a package
// that does the work, and prints the result. A wrong call or a wrong configuration exits
// with 2, work that failed exits with 1. Only this package and internal/config read the
// process's environment.
//
// There are three kinds of commands. serve is the server, and demo runs the server with
// stand-ins on this machine. purge, plan, check and rules need no server: they work on a
// list, a clone or a page, with the packages that the server also uses. status, queue,
// pause and the commands that change a purge ask a running server over HTTP, because only
// the server may write the ledger; operator.go is their client. A command's answer, text
// or JSON, goes to standard output. Messages that accompany it go to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes. docs/cli.md promises them to scripts, so a code never changes its meaning.
const (
	exitDone   = 0
	exitFailed = 1 // the work failed
	exitUsage  = 2 // wrong usage or configuration
	exitStale  = 3 // check alone: a page is stale
)

// streams are the standard streams of the program. Tests pass their own. A command writes
// to these and never to os.Stdout or os.Stderr, so that [run] can make every output safe
// for a terminal.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// exitError is an error that chooses the exit code. An error of another type exits with
// exitFailed.
type exitError struct {
	code int
	err  error // for people; nil: the command has printed everything already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// failed ends a command whose work failed and that has already printed why. [run] prints
// nothing more.
func failed() error { return &exitError{code: exitFailed} }

// usage ends a command that was called wrongly or whose configuration is wrong. [run]
// prints the message to standard error.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// commands is the whole command line as kong parses it. kong reads the struct tags: they
// are the help texts and define the flags.
type commands struct {
	Serve serveCmd `cmd:"" help:"Run the server."`
	Demo  demoCmd  `cmd:"" help:"Play the whole product on this machine, with no account anywhere."`
	Rules struct {
		Check   rulesCheckCmd   `cmd:"" help:"Check a rules file and run its tests."`
		Init    rulesInitCmd    `cmd:"" help:"Write a rules file for the clone, by what its generator makes of it."`
		Explain rulesExplainCmd `cmd:"" help:"What a file purges and through which rule, or which files and rules purge a URL."`
		Try     rulesTryCmd     `cmd:"" help:"Watch a rules file and show what the last commits would purge, whenever it is saved."`
	} `cmd:"" help:"Work with purge-rules.yaml."`
	Plan  planCmd  `cmd:"" help:"Show what a deployment would purge, from a local clone."`
	Purge purgeCmd `cmd:"" help:"Purge URLs, tags or CP codes directly, with your own credentials."`

	Check checkCmd `cmd:"" help:"Say of each page whether it is fresh, and why not."`

	Status  statusCmd  `cmd:"" help:"Ask a running server what is live."`
	Queue   queueCmd   `cmd:"" help:"Ask a running server what is waiting, and how full the account's budget is."`
	Retry   retryCmd   `cmd:"" help:"Send the refused objects of a purge again."`
	Release releaseCmd `cmd:"" help:"Approve a held purge and send it."`
	Cancel  cancelCmd  `cmd:"" help:"Cancel a purge: discard what was not sent."`
	Pause   pauseCmd   `cmd:"" help:"Stop sending to Akamai: everything, or by repository, environment or account."`
	Resume  resumeCmd  `cmd:"" help:"Send what was paused."`
	Pauses  pausesCmd  `cmd:"" help:"List what is paused, by whom and why."`
	Replay  replayCmd  `cmd:"" help:"Handle a webhook delivery again that was set aside."`

	Setup       setupCmd       `cmd:"" help:"Make the GitHub App in a browser and write its credentials."`
	Migrate     migrateCmd     `cmd:"" help:"Bring the database's schema up to date."`
	Healthcheck healthcheckCmd `cmd:"" help:"Exit 0 if the server on this machine answers."`
	Doctor      doctorCmd      `cmd:"" help:"Check everything that can be wrong before a first start."`

	Help       helpCmd       `cmd:"" help:"Explain a command."`
	Completion completionCmd `cmd:"" help:"Print a script that completes purgebot's words in a shell."`
	Version    versionCmd    `cmd:"" help:"Say which release this is."`

	ShowVersion kong.VersionFlag `name:"version" help:"Say which release this is."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // restores the default handling, so a second signal ends the process at once
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run is the whole program without the process: it takes the arguments and streams, and
// returns the exit code. Tests call it too.
//
// It wraps both outputs in a [plainWriter] before anything else, because texts from
// GitHub, Akamai and other people's repositories reach them.
func run(ctx context.Context, args []string, std streams) int {
	std.out, std.err = &plainWriter{out: std.out}, &plainWriter{out: std.err}
	var cmds commands
	// kong calls its Exit function for --help and --version, then goes on parsing when
	// the function returns. So the function records the code only, and -1 means "not
	// called".
	code := -1
	parser, err := kong.New(&cmds,
		kong.Name("purgebot"),
		kong.Description("Purges Akamai's cache when a site's repository is deployed."),
		kong.Vars{"version": thisBuild().String()},
		kong.Writers(std.out, std.err),
		kong.Exit(func(c int) { code = c }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		fmt.Fprintln(std.err, "purgebot:", err)
		return exitUsage
	}
	kctx, err := parser.Parse(asFlag(args))
	if code >= 0 { // --help or --version; it comes first because err can be set too
		return code
	}
	if err != nil {
		fmt.Fprintln(std.err, "purgebot:", err)
		return exitUsage
	}
	err = kctx.Run()
	// Commands choose their exit code by the type of their error. errors.As also finds an
	// exitError that was wrapped or joined on the way up.
	var exit *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(std.err, "purgebot:", exit.err)
		}
		return exit.code
	default:
		fmt.Fprintln(std.err, "purgebot:", err)
		return exitFailed
	}
}
