package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// RunWithoutJobs is Run without the jobs: what is accepted waits.
func (s *Server) RunWithoutJobs(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { s.store.Checkpoint(ctx) })
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	<-ctx.Done()
	err := s.http.Shutdown(context.WithoutCancel(ctx))
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	running.Wait()
	return errors.Join(err, s.store.Close())
}
