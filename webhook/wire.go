package webhook

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// origin holds the fields that every payload may have besides the event itself. Its types
// are our own: go-github's lack fields that purgebot needs, and refuse some values that
// GitHub sends.
type origin struct {
	Action       string      `json:"action"`
	Installation wireID      `json:"installation"`
	Repository   *repository `json:"repository"`
	Sender       User        `json:"sender"`
}

func (o origin) origin() Origin {
	out := Origin{Installation: o.Installation.ID, Sender: o.Sender}
	if o.Repository != nil {
		out.Repository = o.Repository.repo()
	}
	return out
}

type wireID struct {
	ID int64 `json:"id"`
}

type repository struct {
	ID            int64  `json:"id"`
	Name          string `json:"name"`
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	Archived      bool   `json:"archived"`
	PushedAt      stamp  `json:"pushed_at"`
	Owner         struct {
		Login string `json:"login"`
	} `json:"owner"`
}

// repo takes the owner from full_name if there is no owner: in the lists of an
// installation the repositories have none.
func (r repository) repo() Repo {
	owner, name, _ := strings.Cut(r.FullName, "/")
	if r.Owner.Login != "" {
		owner = r.Owner.Login
	}
	if r.Name != "" {
		name = r.Name
	}
	return Repo{
		ID:            r.ID,
		Owner:         owner,
		Name:          name,
		DefaultBranch: r.DefaultBranch,
		PushedAt:      r.PushedAt.Time,
		Archived:      r.Archived,
	}
}

func repos(list []repository) []Repo {
	var out []Repo
	for _, r := range list {
		out = append(out, r.repo())
	}
	return out
}

// A stamp is a time that GitHub writes as RFC 3339, as seconds since 1970 (in a push's
// repository) or as null. null leaves it zero.
type stamp struct{ time.Time }

// lastSecond is the end of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

// UnmarshalJSON accepts the three forms. Anything else is a type error, which decode puts
// into words.
func (s *stamp) UnmarshalJSON(b []byte) error {
	text := string(b)
	if text == "null" {
		return nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 && n <= lastSecond {
		s.Time = time.Unix(n, 0).UTC()
		return nil
	}
	var quoted string
	if err := json.Unmarshal(b, &quoted); err == nil {
		if t, err := time.Parse(time.RFC3339, quoted); err == nil {
			s.Time = t.UTC()
			return nil
		}
	}
	return &json.UnmarshalTypeError{Value: jsonType(b), Type: reflect.TypeFor[time.Time]()}
}

// jsonType names the type of a JSON value in the words of encoding/json.
func jsonType(b []byte) string {
	switch b[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "bool"
	case 'n':
		return "null"
	default:
		return "number"
	}
}
