package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sealsmith/sealsmith/key"
)

// ErrConfiguration is wrapped by the errors of a reload that was refused because of
// what the configuration says: the agent goes on with the one that it has.
var ErrConfiguration = errors.New("the configuration was not changed")

// Settings are what a running agent takes from its configuration again.
type Settings struct {
	// Rules are the configured rules for keys.
	Rules map[key.ID]Rule
	// SoftwareKeys says what becomes of private keys that clients add from now on.
	SoftwareKeys SoftwarePolicy
	// Offer says which keys can be used on the SSH socket.
	Offer Offer
}

// settings are those in force.
type settings struct {
	Settings
	loaded time.Time
}

// apply puts settings into force, for all that begins from now on.
func (s *Server) apply(new Settings) {
	s.settings.Store(&settings{new, time.Now()})
	s.config.PINs.setRules(new.Rules)
}

// reload reads the configuration again. What is wrong with it changes nothing.
func (s *Server) reload(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	done := newRecord("reload", SocketControl, connOf(r.Context()).peer)
	done.Ref = s.config.ConfigFile
	s.reloading.Lock() // so that the last to be read is the last in force
	defer s.reloading.Unlock()
	read := s.config.Reload
	if read == nil {
		return 0, nil, s.written(done, fmt.Errorf("an agent inside a command: reload %w", key.ErrUnsupported))
	}
	new, err := read()
	if err == nil {
		s.apply(new)
	}
	return http.StatusOK, s.configuration(), s.written(done, err)
}

// Configuration is where the agent's rules come from.
type Configuration struct {
	File   string    `json:"file"` // it need not exist
	Loaded time.Time `json:"loaded"`
}

func (s *Server) configuration() Configuration {
	return Configuration{s.config.ConfigFile, s.settings.Load().loaded.UTC()}
}

// Reload has the agent read its configuration again. The error wraps
// [ErrConfiguration] if that cannot be used; then nothing has changed.
func (c *Client) Reload(ctx context.Context) (Configuration, error) {
	var answer Configuration
	err := c.call(ctx, "POST", "/v1/reload", nil, &answer)
	return answer, err
}
