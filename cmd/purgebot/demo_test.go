package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestDemoOnce(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"demo", "--once"}, streams{strings.NewReader(""), &out, &errs}); code != exitDone {
		t.Errorf("exit %d\n%s%s", code, out.String(), errs.String())
	}
	if !strings.Contains(out.String(), "every status was as expected") {
		t.Errorf("the story lacks its end:\n%s", out.String())
	}
}
