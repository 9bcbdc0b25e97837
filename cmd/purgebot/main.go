// Command purgebot purges Akamai's cache when a site's repository is deployed.
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

// Exit codes, promised in docs/cli.md.
const (
	exitDone   = 0
	exitFailed = 1 // the work failed
	exitUsage  = 2 // wrong usage or configuration
)

// streams are the program's ends; tests give their own.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// exitError carries an exit code; its message is what people read.
type exitError struct {
	code int
	err  error // nil: everything was said already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// failed ends a command whose work failed and who said so already.
func failed() error { return &exitError{code: exitFailed} }

// usage ends a command that was called or configured wrongly.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

type commands struct {
	Serve serveCmd `cmd:"" help:"Run the server."`
	Demo  demoCmd  `cmd:"" help:"Play the whole product on this machine, with no account anywhere."`
	Rules struct {
		Check rulesCheckCmd `cmd:"" help:"Check a rules file and run its tests."`
	} `cmd:"" help:"Work with purge-rules.yaml."`
	Plan  planCmd  `cmd:"" help:"Say what a deploy would purge, from a local clone."`
	Purge purgeCmd `cmd:"" help:"Purge URLs, tags or CP codes directly, with your own credentials."`

	Status  statusCmd  `cmd:"" help:"Say what is live, of a running server."`
	Queue   queueCmd   `cmd:"" help:"Say what waits and how full the account's budget is, of a running server."`
	Retry   retryCmd   `cmd:"" help:"Send the failed objects of a purge again."`
	Release releaseCmd `cmd:"" help:"Let a held purge go."`
	Cancel  cancelCmd  `cmd:"" help:"Drop what was not sent of a purge."`

	Setup       setupCmd       `cmd:"" help:"Make the GitHub App in a browser and write its credentials."`
	Migrate     migrateCmd     `cmd:"" help:"Bring the database's schema up to date."`
	Healthcheck healthcheckCmd `cmd:"" help:"Say by the exit code whether the server on this machine is well."`
	Doctor      doctorCmd      `cmd:"" help:"Check everything that a first start can get wrong."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run is the whole program but for the process: tests call it too.
func run(ctx context.Context, args []string, std streams) int {
	var cmds commands
	code := -1
	parser, err := kong.New(&cmds,
		kong.Name("purgebot"),
		kong.Description("Purges Akamai's cache when a site's repository is deployed."),
		kong.Writers(std.out, std.err),
		kong.Exit(func(c int) { code = c }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		fmt.Fprintln(std.err, "purgebot:", err)
		return exitUsage
	}
	kctx, err := parser.Parse(args)
	if code >= 0 { // --help
		return code
	}
	if err != nil {
		fmt.Fprintln(std.err, "purgebot:", err)
		return exitUsage
	}
	err = kctx.Run()
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
