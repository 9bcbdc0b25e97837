package purger

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestBody(t *testing.T) {
	tests := map[string]struct {
		request Request
		want    string
	}{
		"URLs as they are":   {Request{Kind: URL, Objects: []string{"https://a/?x=1&y=<2>", "https://a/ü"}}, `{"objects":["https://a/?x=1&y=<2>","https://a/ü"]}`},
		"CP codes: integers": {Request{Kind: CPCode, Objects: []string{"12345", "98765"}}, `{"objects":[12345,98765]}`},
		"what JSON escapes":  {Request{Kind: URL, Objects: []string{"\"\\\n\x00"}}, `{"objects":["\"\\\u000a\u0000"]}`},
		"none":               {Request{Kind: Tag}, `{"objects":[]}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.request.Body()
			if err != nil || string(got) != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// TestBodyLimit tests up to the last byte.
func TestBodyLimit(t *testing.T) {
	frame := len(`{"objects":[""]}`)
	fits := strings.Repeat("x", MaxBody-frame)
	if body, err := (Request{Kind: URL, Objects: []string{fits}}).Body(); err != nil || len(body) != MaxBody {
		t.Errorf("%d bytes, %v", len(body), err)
	}
	var object *ObjectError
	if _, err := (Request{Kind: URL, Objects: []string{fits + "x"}}).Body(); !errors.As(err, &object) || len(err.Error()) > 400 {
		t.Errorf("one byte more: %v", err)
	}
	_, err := (Request{Kind: URL, Objects: []string{fits, "x"}}).Body()
	if err == nil || errors.As(err, &object) || err.Error() != "encode request: 2 objects make 50004 bytes, Akamai takes 50000" {
		t.Errorf("two objects: %v", err)
	}
	if quotes := strings.Repeat(`"`, (MaxBody-frame)/2); Check(URL, quotes) != nil || Check(URL, quotes+`"`) == nil {
		t.Error("what escaping adds is not counted")
	}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		kind   Kind
		object string
		reason string
	}{
		{URL, "https://www.acme.com/ü?x=1#y", ""},
		{URL, "", "is empty"},
		{URL, "https://a/\xff", "is not valid UTF-8; percent-encode it"},
		{Tag, "Black-Friday_1&'^$!`#%.+~|/", ""},
		{Tag, strings.Repeat("x", 128), ""},
		{Tag, strings.Repeat("x", 129), "has 129 characters, at most 128 are allowed"},
		{Tag, "a b", "can't hold a space: letters, digits and &'^-$!`#%.+~_|/ are allowed"},
		{Tag, "a,b", "can't hold \",\": letters, digits and &'^-$!`#%.+~_|/ are allowed"},
		{Tag, "ä", "can't hold \"ä\": letters, digits and &'^-$!`#%.+~_|/ are allowed"},
		{CPCode, "12345", ""},
		{CPCode, "0", "is not a CP code: write a positive integer, such as 12345"},
		{CPCode, "012", "is not a CP code: write a positive integer, such as 12345"},
		{CPCode, "-1", "is not a CP code: write a positive integer, such as 12345"},
		{CPCode, "1e3", "is not a CP code: write a positive integer, such as 12345"},
		{CPCode, "99999999999999999999", "is not a CP code: write a positive integer, such as 12345"},
		{"host", "x", `has the unknown kind "host"`},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %.20s", test.kind, test.object), func(t *testing.T) {
			got := ""
			if object, ok := errors.AsType[*ObjectError](Check(test.kind, test.object)); ok {
				got = object.Reason
			}
			if got != test.reason {
				t.Errorf("got %q, want %q", got, test.reason)
			}
		})
	}
}

func TestPackerFillsToTheLastByte(t *testing.T) {
	p := NewPacker(URL, 0)
	var objects []string
	for i := 0; ; i++ {
		object := fmt.Sprintf(`https://www.acme.com/%d?"&"`, i)
		if !p.Add(object) {
			break
		}
		objects = append(objects, object)
	}
	body, err := Request{Kind: URL, Objects: objects}.Body()
	if err != nil || len(body) != p.Bytes() || p.Bytes() < MaxBody-40 {
		t.Errorf("%d objects, %d bytes, counted %d; %v", len(objects), len(body), p.Bytes(), err)
	}
	rest := strings.Repeat("x", MaxBody-p.Bytes()-len(`,""`))
	if p.Add(rest+"x") || !p.Add(rest) || p.Bytes() != MaxBody {
		t.Errorf("%d bytes", p.Bytes())
	}
}

func TestPackerCountsObjects(t *testing.T) {
	p := NewPacker(CPCode, 2)
	if !p.Add("1") || !p.Add("2") || p.Add("3") || p.Bytes() != len(`{"objects":[1,2]}`) {
		t.Errorf("%d bytes", p.Bytes())
	}
}

// FuzzBody: what is sent is what was meant, and has as many bytes as were counted.
func FuzzBody(f *testing.F) {
	f.Add("https://www.acme.com/?a=b&c", "\"\\\u2028\x7f")
	f.Add("\x00\x1f", "é")
	f.Fuzz(func(t *testing.T, a, b string) {
		if Check(URL, a) != nil || Check(URL, b) != nil {
			if utf8.ValidString(a) && utf8.ValidString(b) && a != "" && b != "" && len(a)+len(b) < 1000 {
				t.Errorf("%q or %q can't be sent", a, b)
			}
			return
		}
		objects := []string{a, b}
		body, err := Request{Kind: URL, Objects: objects}.Body()
		p := NewPacker(URL, 0)
		if fits := p.Add(a) && p.Add(b); fits != (err == nil) {
			t.Fatalf("fits %v, but %v", fits, err)
		}
		if err != nil {
			return
		}
		var got struct{ Objects []string }
		if err := json.Unmarshal(body, &got); err != nil || !cmp.Equal(got.Objects, objects) || len(body) != p.Bytes() {
			t.Errorf("%q is %q, %v, %d bytes, counted %d", objects, body, err, len(body), p.Bytes())
		}
	})
}
