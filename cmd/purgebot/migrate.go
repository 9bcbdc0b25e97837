package main

import (
	"context"
	"fmt"
	"os"

	"github.com/purgebot/purgebot/internal/config"
	"github.com/purgebot/purgebot/internal/store"
)

// migrateCmd is purgebot migrate.
type migrateCmd struct {
	Config string `help:"Configuration file (default: ./purgebot.yaml, if there is one)." placeholder:"FILE"`
}

// Run brings the database's schema up to date, as serve does at its start. It prints the
// versions before and after to standard output.
func (c *migrateCmd) Run(ctx context.Context, std streams) error {
	cfg, err := config.Load(c.Config, os.Getenv)
	if err != nil {
		return usage("%w", err)
	}
	address := cfg.Database.Reveal()
	from, to, err := store.Migrate(ctx, store.Config{URL: address})
	if err != nil {
		return store.Explain(address, err)
	}
	fmt.Fprintln(std.out, describeMigration(from, to))
	return nil
}

// describeMigration says what a migration changed. The tables of purgebot and those of
// the job queue have versions of their own.
func describeMigration(from, to store.Schema) string {
	if from == to {
		return fmt.Sprintf("The schema is up to date: tables %d, job queue %d.", to.Tables, to.Jobs)
	}
	return fmt.Sprintf("Migrated: tables %s, job queue %s.", versions(from.Tables, to.Tables), versions(from.Jobs, to.Jobs))
}

func versions(from, to int) string {
	if from == to {
		return fmt.Sprint(to)
	}
	return fmt.Sprintf("%d → %d", from, to)
}
