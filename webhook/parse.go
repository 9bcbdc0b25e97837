package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Parse decodes the payload of one delivery. event is the value of X-GitHub-Event, and
// body is a JSON object.
//
// An event or action that purgebot does not use is an *Ignored, never an error. Errors
// are: a body that is no JSON object, a field of the wrong type, and the lack of a field
// that purgebot needs. Their words are fit for the sender. Unknown fields and unknown
// values of state or conclusion are no errors, because GitHub adds some from time to
// time.
func Parse(event string, body []byte) (Event, error) {
	if !opensObject(body) {
		return nil, object(body)
	}
	var (
		parsed Event
		err    error
	)
	switch event {
	case "push":
		parsed, err = parsePush(body)
	case "deployment_status":
		parsed, err = parseDeploymentStatus(body)
	case "issue_comment":
		parsed, err = parseIssueComment(body)
	case "pull_request":
		parsed, err = parsePullRequest(body)
	case "check_run":
		parsed, err = parseCheckRun(body)
	case "check_suite":
		parsed, err = parseCheckSuite(body)
	case "status":
		parsed, err = parseStatus(body)
	case "workflow_run":
		parsed, err = parseWorkflowRun(body)
	case "installation":
		parsed, err = parseInstallation(body)
	case "installation_repositories":
		parsed, err = parseInstallationRepositories(body)
	case "repository":
		parsed, err = parseRepository(body)
	case "merge_group":
		parsed, err = parseMergeGroup(body)
	case "ping":
		parsed, err = &Ping{}, object(body)
	default:
		parsed, err = &Ignored{Event: event}, object(body)
	}
	// A body that is not JSON is no fault of the event, so the event's name is left out.
	if _, syntax := errors.AsType[*json.SyntaxError](err); syntax {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", event, err)
	}
	return parsed, nil
}

// opensObject tells whether body is an object, if it is JSON at all.
func opensObject(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
}

// object tells whether body is one JSON object, whatever it contains.
func object(body []byte) error {
	if err := decode(body, new(json.RawMessage)); err != nil {
		return err
	}
	if !opensObject(body) {
		return fmt.Errorf("the body is a JSON %s, not an object", jsonType(bytes.TrimLeft(body, " \t\r\n")))
	}
	return nil
}

// decode reads body into what w points to. body is a JSON object or no JSON. It does not
// check validity first: reading a push once already takes longer than storing it.
func decode(body []byte, w any) error {
	err := json.Unmarshal(body, w)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the body is not JSON: %w (at byte %d of %d)", syntax, syntax.Offset, len(body))
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		name := strings.TrimPrefix(wrong.Field, "origin.") // the embedded struct is ours, not GitHub's
		return fmt.Errorf("%s is a JSON %s where %s belongs", name, wrong.Value, want(wrong.Type))
	}
	return err
}

// want says in words which JSON value decodes into t.
func want(t reflect.Type) string {
	switch kind := t.Kind(); {
	case t == reflect.TypeFor[time.Time]():
		return "a time"
	case kind == reflect.String:
		return "a string"
	case kind == reflect.Bool:
		return "true or false"
	case kind == reflect.Int, kind == reflect.Int64:
		return "a whole number"
	case kind == reflect.Slice:
		return "a list"
	}
	return "an object"
}

// A field is one that an event must have.
type field struct {
	name  string
	fault string // "" if the field is fine
}

// demand returns an error that names every field with a fault.
func demand(fields ...field) error {
	var faults []string
	for _, f := range fields {
		if f.fault != "" {
			faults = append(faults, f.name+" "+f.fault)
		}
	}
	if faults == nil {
		return nil
	}
	return errors.New(strings.Join(faults, ", "))
}

// filled demands a text that is not empty.
func filled(name, value string) field {
	if value == "" {
		return field{name, "is missing"}
	}
	return field{name, ""}
}

// positive demands a number above 0, as all of GitHub's ids are.
func positive(name string, value int64) field {
	switch {
	case value == 0:
		return field{name, "is missing"}
	case value < 0:
		return field{name, "is negative"}
	}
	return field{name, ""}
}

// commit demands the name of a git object: 40 hexadecimal digits, or 64 in a SHA-256
// repository. It lets shorter ones pass. It refuses only what could be something other
// than a name in the path of a request.
func commit(name, value string) field {
	if value != "" && (len(value) > 64 || strings.Trim(value, "0123456789abcdefABCDEF") != "") {
		return field{name, "is not a commit id"}
	}
	return filled(name, value)
}

// repositoryFields are what purgebot needs of the repository: its id, and its name for
// the paths of GitHub's API.
func (o origin) repositoryFields() []field {
	if o.Repository == nil {
		return []field{{"repository", "is missing"}}
	}
	r := o.Repository.repo()
	fields := []field{
		positive("repository.id", r.ID),
		filled("repository.owner.login", r.Owner),
		filled("repository.name", r.Name),
	}
	if !pathElement(r.Owner) || !pathElement(r.Name) {
		fields = append(fields, field{"repository.full_name", "is not owner/name"})
	}
	return fields
}

// pathElement tells whether s stands for itself in the path of a URL. GitHub's names
// consist of letters, digits, "-", "_" and "." only.
func pathElement(s string) bool {
	return s != "." && s != ".." && !strings.ContainsAny(s, "/\\?#% ")
}

// ignored is the result for an action that purgebot does not use.
func (o origin) ignored(event string) (Event, error) {
	return &Ignored{Origin: o.origin(), Event: event, Action: o.Action}, nil
}
