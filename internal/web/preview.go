package web

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/purgebot/purgebot/internal/printable"
	"github.com/purgebot/purgebot/internal/store"
)

// preview shows the whole listing of a preview to everybody who has the link. It is plain
// text, so that a browser runs nothing that a file's name contains.
func (w *Web) preview(c echo.Context) error {
	listing, err := w.Ledger.Preview(c.Request().Context(), c.Param("key"))
	if errors.Is(err, store.ErrNotFound) {
		return w.render(c, http.StatusNotFound, "missing.html", nil)
	}
	if err != nil {
		return w.failed(c, err)
	}
	guard(c.Response().Header())
	return c.Blob(http.StatusOK, "text/plain; charset=utf-8", []byte(printable.Text(string(listing), "\n\t")))
}
