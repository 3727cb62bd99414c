package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// Agent is another ssh-agent: in config.yaml its path, or a map.
type Agent struct {
	// Path is its socket, as a whole path.
	Path string `yaml:"path" text:"true"`
	// Keys are the fingerprints (SHA256:…), as ssh-add prints them, of those of
	// its keys that are used. The default is all.
	Keys []string `yaml:"keys"`
}

// They are compiled when they are needed: few configurations have what they are for.
var (
	fingerprintGrammar = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`) })
	// refGrammar is key.ParseRef's.
	refGrammar = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(id:[0-9a-f]{8,64}|((tpm|piv/[0-9]{1,10})/)?[a-z0-9][a-z0-9._-]{0,63})$`)
	})
)

// agents checks the other agents.
func (f *file) agents() (all []Agent, err error) {
	seen := map[string]bool{}
	for _, a := range f.Agents {
		path := filepath.Clean(a.Value.Path)
		switch {
		case !filepath.IsAbs(path):
			return nil, at(a.Line, fmt.Errorf("agent %.200q is not a whole path", a.Value.Path))
		case len(path) > limits.SocketPath:
			return nil, at(a.Line, fmt.Errorf("path of %d bytes for a socket, at most %d", len(path), limits.SocketPath))
		case seen[path]:
			return nil, at(a.Line, fmt.Errorf("agent %q stands here twice", path))
		case len(all) == limits.Upstreams:
			return nil, at(a.Line, fmt.Errorf("more than %d agents", limits.Upstreams))
		}
		for _, fingerprint := range a.Value.Keys {
			if !fingerprintGrammar().MatchString(fingerprint) {
				return nil, hint.Wrap(at(a.Line, fmt.Errorf("%.80q is no fingerprint", fingerprint)), "ssh-add -l prints those of an agent")
			}
		}
		seen[path] = true
		all = append(all, Agent{path, a.Value.Keys})
	}
	return all, nil
}

// offer checks the list of keys to be offered.
func (f *file) offer() (all []string, err error) {
	if f.Offer.Line > 0 && len(f.Offer.Value) == 0 {
		return nil, hint.Wrap(at(f.Offer.Line, errors.New("offer names no key")), "without offer: every key is listed")
	}
	for _, o := range f.Offer.Value {
		if !fingerprintGrammar().MatchString(o.Value) && !refGrammar().MatchString(o.Value) {
			return nil, hint.Wrap(at(o.Line, fmt.Errorf("%.80q names no key", o.Value)), "write a name, id:HEX, or the SHA256:… that ssh-add -l prints")
		}
		if len(all) == limits.Offered {
			return nil, at(o.Line, fmt.Errorf("more than %d keys are offered", limits.Offered))
		}
		all = append(all, o.Value)
	}
	return all, nil
}

// Fingerprint says whether an entry of [Config.Offer] is a fingerprint, and not a
// reference.
func Fingerprint(entry string) bool { return fingerprintGrammar().MatchString(entry) }
