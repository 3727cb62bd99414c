package agent

import (
	"context"
	"net/http"

	"github.com/sealsmith/sealsmith/key"
)

// lockRequest names the secret that is the passphrase.
type lockRequest struct {
	Secret string `json:"secret"`
}

// lockAgent and unlockAgent are what ssh-add -x and -X do.
func (s *Server) lockAgent(w http.ResponseWriter, r *http.Request) (int, any, error) {
	return s.turnLock(w, r, "lock", func(_ context.Context, passphrase []byte) error { return s.Lock(passphrase) })
}

func (s *Server) unlockAgent(w http.ResponseWriter, r *http.Request) (int, any, error) {
	pid := connOf(r.Context()).peer.PID
	return s.turnLock(w, r, "unlock", func(ctx context.Context, passphrase []byte) error { return s.Unlock(ctx, pid, passphrase) })
}

func (s *Server) turnLock(w http.ResponseWriter, r *http.Request, action string, turn func(ctx context.Context, passphrase []byte) error) (int, any, error) {
	var body lockRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	peer := connOf(r.Context()).peer
	err = s.secrets.lend(body.Secret, peer.UID)(r.Context(), func(passphrase []byte) error { return turn(r.Context(), passphrase) })
	return http.StatusOK, struct{}{}, s.written(newRecord(action, SocketControl, peer), err)
}

// Lock locks the agent with a passphrase, as ssh-add -x does: until it is unlocked
// with the same one, it signs nothing and has forgotten every PIN.
func (c *Client) Lock(ctx context.Context, passphrase key.LendFunc) error {
	return c.turnLock(ctx, "/v1/lock", passphrase)
}

// Unlock is the inverse of [Client.Lock]. A wrong passphrase is [key.ErrDenied].
func (c *Client) Unlock(ctx context.Context, passphrase key.LendFunc) error {
	return c.turnLock(ctx, "/v1/unlock", passphrase)
}

func (c *Client) turnLock(ctx context.Context, path string, passphrase key.LendFunc) error {
	name, err := c.handOver(ctx, passphrase)
	if err != nil {
		return err
	}
	return c.call(ctx, "POST", path, lockRequest{name}, &struct{}{})
}
