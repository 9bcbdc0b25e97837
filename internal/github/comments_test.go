package github_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

// TestFindCommentAmongOthers finds the App's own comment among others with its mark, on
// a later page.
func TestFindCommentAmongOthers(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	const mark, since = "<!-- purgebot reply/1/2/3 -->", "2026-11-22T10:00:00Z"
	comment := func(id int, kind string, app any, body string) object {
		return object{"id": id, "body": body, "user": object{"type": kind}, "performed_via_github_app": app}
	}
	for _, test := range []struct {
		name   string
		second object
		id     int64
	}{
		{"ours", comment(4, "Bot", object{"id": 1}, "words\n\n"+mark), 4},
		{"a bot's where no App is named", comment(5, "Bot", nil, mark), 5},
		{"none", comment(6, "User", nil, mark), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			repository, _ := answering(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/repos/acme/site/issues/2/comments" || r.URL.Query().Get("since") != since {
					t.Errorf("asked for %s", r.URL)
				}
				page := []object{
					comment(1, "User", nil, mark), comment(2, "Bot", object{"id": 99}, mark), comment(3, "Bot", object{"id": 1}, "another"),
				}
				if r.URL.Query().Get("page") == "2" {
					page = []object{test.second}
				} else {
					w.Header().Set("Link", `<http://x/?page=2>; rel="next"`)
				}
				if err := json.NewEncoder(w).Encode(page); err != nil {
					t.Error(err)
				}
			})
			id, found, err := repository.FindComment(t.Context(), 2, mark, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))
			if err != nil || id != test.id || found != (test.id != 0) {
				t.Errorf("found %v %d, %v; want %d", found, id, err, test.id)
			}
		})
	}
}
