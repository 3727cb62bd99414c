package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// releaseKey is the name of the key that --release makes.
const releaseKey = "release"

// deviceAndKeys finds the device and sees to it that the keys are there, through
// the agent if one runs already.
func (s *setUp) deviceAndKeys(ctx context.Context) error {
	client, done, err := s.usual(ctx)
	if err != nil {
		return err
	}
	defer done()
	device, err := client.Device(ctx)
	if err != nil {
		return err
	}
	s.device, s.result.Device = device.Device, device.Device
	s.say("the TPM %s answers", device.Device)
	if err := s.remember(); err != nil {
		return err
	}
	in, err := s.ensure(ctx, client, s.name, key.SSH)
	if err != nil {
		return err
	}
	s.in = in
	if s.result.Key, err = newKeyJSON(in); err != nil || !s.release {
		return err
	}
	if in, err = s.ensure(ctx, client, releaseKey, key.Artifact); err != nil {
		return err
	}
	shown, err := newKeyJSON(in)
	s.result.ReleaseKey = &shown
	return err
}

// usual is [app.keys] for the agent that this command sets up, whatever agent this
// shell uses.
func (s *setUp) usual(ctx context.Context) (*agent.Client, func(), error) {
	client, err := agent.Dial(ctx, usualSocket("control.sock"))
	if errors.Is(err, agent.ErrNoAgent) {
		return s.inProcess()
	}
	if err != nil {
		return nil, nil, err
	}
	if err := s.sameDevice(ctx, client); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, func() { client.Close() }, nil
}

// usualSocket is a socket of the usual agent of this user.
func usualSocket(name string) string { return filepath.Join(xdg.Runtime(), name) }

// remember puts a device that was named for this command into the configuration:
// the agent is to use it too, and is started by others.
func (s *setUp) remember() error {
	c, err := config.Load("")
	if err != nil {
		return err
	}
	if configured, err := tpm.ParseDevice(c.TPM); err != nil || configured == s.device {
		return err
	}
	value, err := json.Marshal(s.device) // also YAML, whatever is in the path
	if err != nil {
		return err
	}
	line := fmt.Sprintf("tpm: %s\n", value)
	path := xdg.ConfigFile()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := atomicfile.WriteNew(path, []byte(line), 0o600); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return hint.Wrap(fmt.Errorf("%s does not name the TPM %s", path, s.device), "have it say: "+strings.TrimSpace(line))
		}
		return err
	}
	s.say("wrote %s, so that the agent uses this TPM too", path)
	return nil
}

// ensure returns the key of that name, or makes it.
func (s *setUp) ensure(ctx context.Context, client *agent.Client, name string, usage key.Usage) (key.Info, error) {
	in, found, err := find(name, usage)
	if err != nil {
		return key.Info{}, err
	}
	if !found {
		return s.makeKey(ctx, client, cmp.Or(name, machineName()), usage)
	}
	s.say("found the key %s", in.Ref.Name)
	return in, nil
}

// find looks for the key of that name. Without a name, any key of that usage will
// do: best the one that is named after the machine, else the oldest that was made
// in the device, for an earlier run has set up that one.
func find(name string, usage key.Usage) (in key.Info, found bool, err error) {
	infos, failed := readKeys()
	if failed != nil {
		return key.Info{}, false, failed // it could be the key
	}
	slices.SortStableFunc(infos, bornFirst)
	named := cmp.Or(name, machineName())
	i := slices.IndexFunc(infos, func(in key.Info) bool { return in.Ref.Name == named })
	if name == "" && (i < 0 || infos[i].Usage != usage) {
		if j := slices.IndexFunc(infos, func(in key.Info) bool { return in.Usage == usage }); j >= 0 {
			i = j
		}
	}
	if i < 0 {
		return key.Info{}, false, nil
	}
	if in = infos[i]; in.Usage != usage {
		return key.Info{}, false, hint.Wrap(fmt.Errorf("the key %s is there and has the usage %s, not %s: %w", named, in.Usage, usage, key.ErrExists),
			"choose another name: sealsmith init NAME")
	}
	return in, true, nil
}

// bornFirst orders keys by their age, those that were imported after all others.
func bornFirst(a, b key.Info) int {
	switch {
	case a.Imported == b.Imported:
		return a.Created.Compare(b.Created)
	case a.Imported:
		return 1
	}
	return -1
}

// checkPIN refuses, before anything is done, to make a key of which nobody can say
// whether it has a PIN.
func (s *setUp) checkPIN() error {
	if s.noPIN || s.fromFD || s.terminal() != nil {
		return nil
	}
	_, found, err := find(s.name, key.SSH)
	if err == nil && found && s.release {
		_, found, err = find(releaseKey, key.Artifact)
	}
	if err == nil && !found {
		return hint.Wrap(usageError(errors.New("nobody can be asked whether the new key has a PIN")), "say so with --no-pin or --pin-fd N")
	}
	return err
}

func (s *setUp) makeKey(ctx context.Context, client *agent.Client, name string, usage key.Usage) (key.Info, error) {
	spec := key.Spec{Name: name, Usage: usage, Algorithm: key.P256}
	switch {
	case s.noPIN:
	case s.pin != nil:
		spec.PIN = lend(s.pin)
	default:
		terminal := prompt.NewTerminal()
		without, err := withoutPIN(ctx, terminal, name)
		if err != nil {
			return key.Info{}, err
		}
		if !without {
			spec.PIN = newPIN(terminal, fmt.Sprintf("Choose a PIN for the new key %s.", name))
			if usage == key.SSH {
				spec.PIN = s.keep(spec.PIN)
			}
		}
	}
	in, err := client.Create(ctx, spec)
	if err != nil {
		return key.Info{}, err
	}
	with := "without a PIN"
	if in.Policy.PIN {
		with = "with a PIN"
	}
	s.say("made the key %s, %s", in.Ref.Name, with)
	s.noteNew(in)
	return in, nil
}

// keep remembers the PIN that is chosen, so that the tests need not ask again.
func (s *setUp) keep(choose key.LendFunc) key.LendFunc {
	return func(ctx context.Context, use func([]byte) error) error {
		return choose(ctx, func(pin []byte) (err error) {
			s.forget()
			if s.chosen, err = secret.Read(bytes.NewReader(pin), len(pin)); err != nil {
				return err
			}
			return use(pin)
		})
	}
}

// forget is the end of what keep remembers.
func (s *setUp) forget() {
	if s.chosen != nil {
		s.chosen.Wipe()
	}
}

// withoutPIN asks for a yes to the choice that protects less: who cancels this has
// not made it.
func withoutPIN(ctx context.Context, terminal prompt.Prompter, name string) (bool, error) {
	err := terminal.Confirm(ctx, prompt.Prompt{
		Title: fmt.Sprintf("May the new key %s be used without a PIN? Then every program of yours can use it. If not, choose a PIN next; the TPM itself checks it.", name),
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, prompt.ErrCancelled):
		return false, nil
	}
	return false, fmt.Errorf("%w: %w", key.ErrDenied, err)
}

// machineName is the name for a key of this machine.
func machineName() string {
	host, err := os.Hostname()
	name, _, _ := strings.Cut(strings.ToLower(host), ".")
	if err != nil || !key.ValidName(name) || name == "localhost" {
		return "ssh"
	}
	return name
}
