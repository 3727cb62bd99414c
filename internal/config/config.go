package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/strictyaml"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// Config is the configuration file, config.yaml. Every setting may be left out.
type Config struct {
	// TPM is the device that holds the keys: the path of a device node,
	// swtpm:FOLDER for a software TPM that protects nothing, or unix:PATH
	// for the socket of one. The default is /dev/tpmrm0. The flag --tpm and
	// the environment's SEALSMITH_TPM come first.
	TPM string `yaml:"tpm"`
	// Pinentry is the program that asks for PINs and confirmations, as a
	// whole path. The default is the pinentry on PATH if there is a display
	// or GPG_TTY is set, then SSH_ASKPASS.
	Pinentry string `yaml:"pinentry"`
	// SoftwareKeys says what becomes of private keys that ssh-add gives to the
	// agent: allow, the default; confirm, which asks a person before each use;
	// or deny, which refuses them.
	SoftwareKeys string `yaml:"software_keys"`
	// Sandbox says how much of a sandbox the kernel must offer: without it, the
	// agent takes what there is and logs how much; require has it refuse to start
	// where Landlock is missing or older than ABI 6 (Linux 6.12); off has it keep
	// its access to files.
	Sandbox string `yaml:"sandbox"`
	// Agents are other ssh-agents, at most 8: their keys are listed behind ours on
	// the ssh socket and sign there. Each is the path of its socket, or a map with
	// path and keys. Nothing is added to them or removed from them.
	Agents []Agent `yaml:"agents"`
	// Offer names the keys of devices and of other agents that can be used on the
	// ssh socket, in the order in which clients see them: by name, id:HEX or
	// fingerprint (SHA256:…). The default is all. Keys that ssh-add gives to the
	// agent are always listed, behind the others unless they have a place here.
	Offer []string `yaml:"offer"`
	// Keys are rules for keys, by their whole ID as `sealsmith key show NAME`
	// prints it.
	Keys map[string]Key `yaml:"keys"`
}

// Key is the rules for one key.
type Key struct {
	// Confirm asks a person before each use. Keys that sign artifacts or
	// digests are always confirmed unless they were created unattended.
	Confirm bool `yaml:"confirm"`
	// Namespaces are the SSHSIG namespaces that the key signs for, in place
	// of the usual ones of its usage: git and file for ssh keys;
	// sealsmith-bundle, file and NAME@DOMAIN for artifact keys.
	Namespaces []string `yaml:"namespaces"`
	// AllowUnrecognizedUnsafe lets an ssh key sign data that is neither a login nor a
	// file signature, as ssh-add -T asks for: that is, anything that a program
	// with access to the agent likes. Not on forwarded connections.
	AllowUnrecognizedUnsafe bool `yaml:"allow_unrecognized_unsafe"`
	// PINCache is how long the agent remembers the PIN without a use: from 1s to
	// 8h, or never. The default is 15m. A PIN is forgotten after 8 hours in any
	// case, and when the machine slept. Those of keys that a person is asked
	// about at each use are never remembered.
	PINCache string `yaml:"pin_cache"`
}

// PINIdle is [Key.PINCache] as a time: 0 if nothing is set, negative for never.
func (k Key) PINIdle() (time.Duration, error) {
	switch k.PINCache {
	case "":
		return 0, nil
	case "never":
		return -1, nil
	}
	idle, err := time.ParseDuration(k.PINCache)
	if err != nil || idle < time.Second || idle > limits.PINLife {
		return 0, hint.Wrap(fmt.Errorf("pin_cache %.80q is no time from 1s to %v", k.PINCache, limits.PINLife), "write, say: pin_cache: 10m, or: pin_cache: never")
	}
	return idle, nil
}

// The values of [Config.Sandbox].
const (
	SandboxRequire = "require"
	SandboxOff     = "off"
)

// idGrammar is key.ID's.
var idGrammar = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{64}$`) })

// File is the path of the configuration: path if it is not empty, else what
// SEALSMITH_CONFIG names, else [xdg.ConfigFile], which need not exist.
func File(path string) string { return cmp.Or(path, os.Getenv("SEALSMITH_CONFIG"), xdg.ConfigFile()) }

// Load reads the configuration, from the file that [File] says.
func Load(path string) (*Config, error) {
	path = File(path)
	c, err := read(path)
	if path == xdg.ConfigFile() && errors.Is(err, fs.ErrNotExist) {
		return &Config{}, nil
	}
	return c, err
}

func read(path string) (*Config, error) {
	data, err := xdg.ReadOwnFile(path, limits.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// file is a Config with the lines that errors need.
type file struct {
	TPM      string                                           `yaml:"tpm"`
	Pinentry strictyaml.Located[string]                       `yaml:"pinentry"`
	Keys     map[string]strictyaml.Located[Key]               `yaml:"keys"`
	Software strictyaml.Located[string]                       `yaml:"software_keys"`
	Sandbox  strictyaml.Located[string]                       `yaml:"sandbox"`
	Agents   []strictyaml.Located[Agent]                      `yaml:"agents"`
	Offer    strictyaml.Located[[]strictyaml.Located[string]] `yaml:"offer"`
}

// Parse reads and checks the text of a configuration. Its errors name the line.
func Parse(data []byte) (*Config, error) {
	var f file
	if err := strictyaml.Decode(data, &f); err != nil {
		return nil, err
	}
	if p := f.Pinentry; p.Value != "" && !filepath.IsAbs(p.Value) {
		return nil, at(p.Line, fmt.Errorf("pinentry %.200q is not a whole path", p.Value))
	}
	policies := []string{"", "allow", "confirm", "deny"}
	if s := f.Software; !slices.Contains(policies, s.Value) {
		return nil, at(s.Line, fmt.Errorf("software_keys %.80q is none of allow, confirm, deny", s.Value))
	}
	if s := f.Sandbox; !slices.Contains([]string{"", SandboxRequire, SandboxOff}, s.Value) {
		return nil, at(s.Line, fmt.Errorf("sandbox %.80q is neither %s nor %s", s.Value, SandboxRequire, SandboxOff))
	}
	c := &Config{TPM: f.TPM, Pinentry: f.Pinentry.Value, Sandbox: f.Sandbox.Value, SoftwareKeys: f.Software.Value, Keys: make(map[string]Key, len(f.Keys))}
	var err error
	if c.Agents, err = f.agents(); err != nil {
		return nil, err
	}
	if c.Offer, err = f.offer(); err != nil {
		return nil, err
	}
	for id, k := range f.Keys {
		if !idGrammar().MatchString(id) {
			return nil, hint.Wrap(at(k.Line, fmt.Errorf("%.80q is not the ID of a key", id)),
				"write all 64 digits, as printed by: sealsmith key show NAME")
		}
		for _, namespace := range k.Value.Namespaces {
			if err := sshsig.CheckNamespace(namespace); err != nil {
				return nil, at(k.Line, err)
			}
		}
		if _, err := k.Value.PINIdle(); err != nil {
			return nil, at(k.Line, err)
		}
		c.Keys[id] = k.Value
	}
	return c, nil
}

func at(line int, err error) error { return &strictyaml.Error{Line: line, Err: err} }
