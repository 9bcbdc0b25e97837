// Command purgebot purges Akamai's cache when a site's repository is deployed.
//
// This is the command line alone: each command reads its flags, does its work
// by a package, and says what came of it. Exit 2 is for whoever called it
// wrongly, 1 for work that failed. Only here, and in internal/config, is the
// process's environment read.
//
// There are three sorts of command. serve is the server, and demo plays it on this
// machine. purge, plan, check and rules need no server: they work on a list, a
// clone or a page, by the packages that the server uses too. status, queue, pause
// and the others that change a purge ask a running server over HTTP, since only it
// may write the ledger; operator.go is that client. What others parse goes to
// standard output, and what people read beside it to standard error.
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
	exitStale  = 3 // a page is stale
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
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// run is the whole program but for the process: tests call it too.
func run(ctx context.Context, args []string, std streams) int {
	std.out, std.err = &plainWriter{out: std.out}, &plainWriter{out: std.err}
	var cmds commands
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
