package systemd

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

//go:embed user host
var files embed.FS

// mark begins every unit that we write, and so tells them from others.
const mark = "# Written by: sealsmith agent install\n"

// placeholder stands for the program in the units.
const placeholder = "@AGENT@"

// Units is how many an agent has.
const Units = 3

// Set is the units of one agent. The first two are its sockets, the third is its
// service.
type Set struct {
	// Dir is where the units are installed.
	Dir   string
	names [Units]string
	from  string // the folder in files
	scope string // systemctl's option
	alive string // exists where systemd runs
}

// User is the agent of a user, started at the first use of its sockets.
func User() Set {
	return Set{
		Dir:   xdg.UserUnits(),
		names: [Units]string{"sealsmith-agent.socket", "sealsmith-agent-control.socket", "sealsmith-agent.service"},
		from:  "user", scope: "--user", alive: filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd", "private"),
	}
}

// Host is the machine's own agent, which holds host keys for sshd.
func Host() Set {
	return Set{
		Dir:   "/etc/systemd/system",
		names: [Units]string{"sealsmith-host.socket", "sealsmith-host-control.socket", "sealsmith-host.service"},
		from:  "host", scope: "--system", alive: "/run/systemd/system", // sd_booted(3)
	}
}

// Unit is a file.
type Unit struct {
	Path string
	Text []byte
}

// Units are the files for an agent whose program is at an absolute path.
func (s Set) Units(program string) ([]Unit, error) {
	// What would have a meaning of its own in ExecStart=; see systemd.service(5).
	special := func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(`"'\%$;`, r) }
	if !filepath.IsAbs(program) || strings.ContainsFunc(program, special) {
		return nil, fmt.Errorf("a unit cannot name the program %.200q", program)
	}
	if strings.Contains(program, " ") {
		program = `"` + program + `"`
	}
	var units []Unit
	for _, name := range s.names {
		text, err := files.ReadFile(s.from + "/" + name)
		if err != nil {
			return nil, err
		}
		text = append([]byte(mark), bytes.ReplaceAll(text, []byte(placeholder), []byte(program))...)
		units = append(units, Unit{filepath.Join(s.Dir, name), text})
	}
	return units, nil
}

// Install writes the units, over older ones of ours. If one of them is somebody
// else's, the error wraps [fs.ErrExist] and nothing is written.
func (s Set) Install(program string) error {
	units, err := s.Units(program)
	if err != nil {
		return err
	}
	if _, err := s.ours(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return err
	}
	for _, u := range units {
		if err := atomicfile.Write(u.Path, u.Text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Remove removes the units and returns which were there. If one of them is
// somebody else's, the error wraps [fs.ErrExist] and nothing is removed.
func (s Set) Remove() ([]string, error) {
	paths, err := s.ours()
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := atomicfile.Remove(path); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// Installed says whether all units are there, and ours.
func (s Set) Installed() bool { return len(s.Missing()) == 0 }

// Missing are the units that are not there, or not ours.
func (s Set) Missing() (names []string) {
	for _, name := range s.names {
		if written, err := marked(filepath.Join(s.Dir, name)); err != nil || !written {
			names = append(names, name)
		}
	}
	return names
}

// ours are the units that are there. It is an error if somebody else's are.
func (s Set) ours() ([]string, error) {
	var paths []string
	for _, name := range s.names {
		path := filepath.Join(s.Dir, name)
		written, err := marked(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case !written:
			return nil, hint.Wrap(fmt.Errorf("%s was not written by sealsmith agent install: %w", path, fs.ErrExist),
				"if it is not needed, remove it and try again")
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// marked says whether a file is there that we wrote. We write no links, and reading a
// pipe or a device may never end.
func marked(path string) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false, err
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	begin, err := io.ReadAll(io.LimitReader(f, int64(len(mark))))
	return string(begin) == mark, err
}

// Running says whether there is a systemd to talk to.
func (s Set) Running() bool {
	_, err := os.Stat(s.alive)
	return err == nil
}

// Enable are the arguments of systemctl that start the sockets, now and with each
// start of the machine or session.
func (s Set) Enable() [][]string {
	return append(s.Reload(), []string{s.scope, "enable", "--now", s.names[0], s.names[1]})
}

// Disable are those that end the agent for good. Of units that are not there systemctl
// would have nothing done.
func (s Set) Disable() [][]string {
	missing := s.Missing()
	there := slices.DeleteFunc(slices.Clone(s.names[:]), func(name string) bool { return slices.Contains(missing, name) })
	if len(there) == 0 {
		return nil
	}
	return [][]string{append([]string{s.scope, "disable", "--now"}, there...)}
}

// Reload are those after which systemd knows which units there are.
func (s Set) Reload() [][]string { return [][]string{{s.scope, "daemon-reload"}} }

// Run runs systemctl once for each list of arguments.
func Run(ctx context.Context, commands [][]string) error {
	for _, args := range commands {
		out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl %s: %w: %.200q", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return nil
}
