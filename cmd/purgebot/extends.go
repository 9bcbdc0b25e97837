package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/purgebot/purgebot/internal/git"
	"github.com/purgebot/purgebot/mapping"
)

// sharedRules is where the rules of another repository are: a clone or a folder of it, or
// the file itself. "" means that none were given.
type sharedRules string

// read returns the shared rules. which names the file and, in a clone, the commit of
// HEAD, so that a reader of the output can tell an old clone. The file is read from the
// working tree, not from that commit.
func (s sharedRules) read(ctx context.Context) (src []byte, which string, err error) {
	if s == "" {
		return nil, "", nil
	}
	which = string(s)
	if info, err := os.Stat(which); err == nil && info.IsDir() {
		place, both, err := rulesPlace(which)
		if err != nil {
			return nil, "", err
		}
		if both {
			return nil, "", usage("%s: %s", which, mapping.BothPlaces()[0].Message)
		}
		which = filepath.Join(which, place)
	}
	if src, err = os.ReadFile(which); err != nil { //nolint:gosec // the operator names it on the command line
		return nil, "", usage("read the rules that these extend: %w", err)
	}
	clone := git.Clone{Dir: filepath.Dir(which)}
	if sha, err := clone.Revision(ctx, "HEAD"); err == nil {
		which = fmt.Sprintf("%s (%.7s)", which, sha)
	}
	return src, which, nil
}
