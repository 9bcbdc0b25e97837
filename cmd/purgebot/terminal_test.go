package main

import (
	"bytes"
	"strings"
	"testing"
)

// A text comes out whole and harmless, in whatever pieces it comes in.
func TestPlainWriter(t *testing.T) {
	const text, want = "ü 🚀\t\x1b[31m\u202e\xff\n", "ü 🚀\t\\u001b[31m\\u202e\ufffd\n"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		p := &plainWriter{out: &out}
		for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
			if _, err := p.Write([]byte(rest[:min(size, len(rest))])); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != want {
			t.Errorf("in pieces of %d: %q, want %q", size, &out, want)
		}
	}
}

// Every command prints through the plainWriter, errors included.
func TestTerminalOutputIsHarmless(t *testing.T) {
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"rules", "check", "none\x1b[31m\u202e.yaml"}, streams{strings.NewReader(""), &stdout, &stderr})
	if got := stderr.String(); !strings.Contains(got, `none\u001b[31m\u202e.yaml`) || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("standard error: %q", got)
	}
}
