package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// The test binary is also the process that restricts itself: this variable is a
// trial.
const role = "SEALSMITH_TEST_SANDBOX"

// trial is what that process is to do in the folders of its parent.
type trial struct {
	Dir     string
	Require bool
	Blind   bool // pretend that the kernel has no Landlock
	Parent  int
	TCP     string
}

// outcome is what came of it.
type outcome struct {
	ABI    int
	Err    string
	Hints  []string
	Failed map[string]syscall.Errno // of what was tried; 0: it worked
}

func TestMain(m *testing.M) {
	text := os.Getenv(role)
	if text == "" {
		os.Exit(m.Run())
	}
	var tr trial
	if err := json.Unmarshal([]byte(text), &tr); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(tr.run()); err != nil {
		panic(err)
	}
}

// run restricts this process and tries what it can still do, on several threads.
func (tr trial) run() (o outcome) {
	busy := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(busy)
	for range 4 { // threads that were there before
		wg.Go(func() {
			runtime.LockOSThread()
			<-busy
		})
	}
	if tr.Blind {
		if err := hideLandlock(); err != nil {
			panic(err)
		}
	}
	if err := NoNewPrivileges(); err != nil {
		panic(err)
	}
	abi, err := Restrict(Folders{
		Read:          []string{filepath.Join(tr.Dir, "read"), filepath.Join(tr.Dir, "missing")},
		Change:        []string{filepath.Join(tr.Dir, "change")},
		Remove:        []string{filepath.Join(tr.Dir, "remove")},
		RemoveFolders: []string{filepath.Join(tr.Dir, "folders")},
		Devices:       []string{"/dev", filepath.Join(tr.Dir, "devices")},
	}, tr.Require)
	if o.ABI = abi; err != nil {
		o.Err, o.Hints = err.Error(), hint.Of(err)
		return o
	}
	o.Failed = map[string]syscall.Errno{}
	for name, try := range tr.tries() {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and the thread ends with the goroutine
			done <- try()
		}()
		var errno syscall.Errno
		if err := <-done; err != nil && !errors.As(err, &errno) {
			panic(fmt.Sprintf("%s: %v", name, err))
		}
		o.Failed[name] = errno
	}
	return o
}

func (tr trial) tries() map[string]func() error {
	path := func(name string) string { return filepath.Join(tr.Dir, name) }
	open := func(path string, flags int) func() error {
		return func() error {
			f, err := os.OpenFile(path, flags, 0o600)
			if err == nil {
				f.Close()
			}
			return err
		}
	}
	dial := func(network, address string) func() error {
		return func() error {
			c, err := net.Dial(network, address)
			if err == nil {
				c.Close()
			}
			return err
		}
	}
	return map[string]func() error{
		"read in read":             open(path("read/f"), os.O_RDONLY),
		"read what was replaced":   func() error { return replaced(tr.Dir) },
		"write in read":            open(path("read/f"), os.O_WRONLY),
		"make in read":             open(path("read/new"), os.O_CREATE|os.O_WRONLY),
		"make in change":           open(path("change/new"), os.O_CREATE|os.O_RDWR),
		"truncate in change":       open(path("change/f"), os.O_WRONLY|os.O_TRUNC),
		"truncate in read by name": func() error { return os.Truncate(path("read/f"), 0) },
		"link in change":           func() error { return os.Link(path("change/f"), path("change/linked")) },
		"rename in change":         func() error { return os.Rename(path("change/g"), path("change/renamed")) },
		"move out of read":         func() error { return os.Rename(path("read/g"), path("change/moved")) },
		"make a folder in change":  func() error { return os.Mkdir(path("change/folder"), 0o700) },
		"list change":              func() error { _, err := os.ReadDir(path("change")); return err },
		"listen in change": func() error {
			l, err := net.Listen("unix", path("change/s"))
			if err == nil {
				l.Close() // removes it
				_, err = os.Lstat(path("change/s"))
				if !errors.Is(err, fs.ErrNotExist) {
					return syscall.EEXIST
				}
				return nil
			}
			return err
		},
		"remove in remove":         func() error { return os.Remove(path("remove/f")) },
		"read in remove":           open(path("remove/g"), os.O_RDONLY),
		"remove in folders":        func() error { return os.Remove(path("folders/folder")) },
		"remove a file of folders": func() error { return syscall.Unlink(path("folders/f")) },
		"remove elsewhere":         func() error { return os.Remove(path("g")) },
		"read elsewhere":           open(path("f"), os.O_RDONLY),
		"list elsewhere":           func() error { _, err := os.ReadDir(tr.Dir); return err },
		"read /proc":               open("/proc/self/status", os.O_RDONLY),
		"use a device":             open("/dev/null", os.O_RDWR),
		"control a device":         control,
		"list devices":             func() error { _, err := os.ReadDir(path("devices")); return err },
		"make a device":            func() error { return unix.Mkfifo(path("devices/new"), 0o600) },
		"run":                      func() error { return exec.Command("/bin/true").Run() },
		"run from change":          func() error { return exec.Command(path("change/program")).Run() },
		"connect by TCP":           dial("tcp", tr.TCP),
		"connect to a file":        dial("unix", path("socket")),
		"connect abstractly":       dial("unix", "@"+path("socket")),
		"signal":                   func() error { return syscall.Kill(tr.Parent, 0) },
		"signal itself":            func() error { return syscall.Kill(os.Getpid(), 0) },
		"have new privileges": func() error {
			if n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); n != 1 {
				return errors.Join(err, syscall.EINVAL)
			}
			return syscall.EPERM
		},
	}
}

// control asks a device for something that only ioctl(2) tells: a terminal for its number.
func control() error {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	return err
}

// replaced reads a file that another one has taken the place of.
func replaced(dir string) error {
	if err := os.Rename(filepath.Join(dir, "change/later"), filepath.Join(dir, "change/h")); err != nil {
		return err
	}
	_, err := os.ReadFile(filepath.Join(dir, "change/h"))
	return err
}

// attempt has a process of its own run a trial.
func attempt(t *testing.T, tr trial) outcome {
	t.Helper()
	tr.Dir, tr.Parent = testenv.SocketDir(t), os.Getpid()
	for _, name := range []string{"read", "change", "devices", "remove", "folders", "folders/folder"} {
		if err := os.Mkdir(filepath.Join(tr.Dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"f", "g", "remove/f", "remove/g", "folders/f", "read/f", "read/g", "change/f", "change/g", "change/h", "change/later"} {
		if err := os.WriteFile(filepath.Join(tr.Dir, name), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(tr.Dir, "change/program"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{filepath.Join(tr.Dir, "socket"), "@" + filepath.Join(tr.Dir, "socket")} {
		l, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tr.TCP = l.Addr().String()
	text, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+string(text), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var o outcome
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return o
}

// refused is what a process that restricted itself cannot do, with the first ABI of
// Landlock that sees to it.
var refused = map[string]struct {
	abi int
	err syscall.Errno
}{
	"write in read":            {1, syscall.EACCES},
	"make in read":             {1, syscall.EACCES},
	"truncate in read by name": {3, syscall.EACCES},
	"move out of read":         {1, syscall.EXDEV},
	"read in remove":           {1, syscall.EACCES},
	"remove a file of folders": {1, syscall.EACCES},
	"remove elsewhere":         {1, syscall.EACCES},
	"read elsewhere":           {1, syscall.EACCES},
	"list elsewhere":           {1, syscall.EACCES},
	"read /proc":               {1, syscall.EACCES},
	"control a device":         {5, syscall.EACCES},
	"list devices":             {1, syscall.EACCES},
	"make a device":            {1, syscall.EACCES},
	"run":                      {1, syscall.EACCES},
	"run from change":          {1, syscall.EACCES},
	"connect by TCP":           {4, syscall.EACCES},
	"connect abstractly":       {6, syscall.EPERM},
	"signal":                   {6, syscall.EPERM},
}

func check(t *testing.T, o outcome, abi int) {
	t.Helper()
	if o.Err != "" || o.ABI != abi || len(o.Failed) < 20 {
		t.Fatalf("%+v, want ABI %d", o, abi)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Failed)) {
		var want syscall.Errno
		if r, ok := refused[name]; ok && abi >= r.abi {
			want = r.err
		}
		if name == "have new privileges" {
			want = syscall.EPERM
		}
		if name == "move out of read" && o.Failed[name] == syscall.EACCES {
			want = syscall.EACCES // which of the two it is changed
		}
		if got := o.Failed[name]; got != want {
			t.Errorf("ABI %d: %s: %v, want %v", abi, name, got, want)
		}
	}
}

// TestRestrict holds what this kernel can against what we say of it.
func TestRestrict(t *testing.T) {
	abi, err := llsys.LandlockGetABIVersion()
	if err != nil {
		abi = 0
	}
	check(t, attempt(t, trial{}), min(abi, Wanted))
}

// TestWithoutLandlock is how it goes on a kernel that has none.
func TestWithoutLandlock(t *testing.T) {
	check(t, attempt(t, trial{Blind: true}), 0)
}

func TestRequire(t *testing.T) {
	o := attempt(t, trial{Blind: true, Require: true})
	if !strings.Contains(o.Err, "ABI 0 here, and 6 is required") || len(o.Hints) == 0 || o.Failed != nil {
		t.Errorf("without Landlock: %+v", o)
	}
	if abi, err := llsys.LandlockGetABIVersion(); err == nil && abi >= Wanted {
		check(t, attempt(t, trial{Require: true}), Wanted)
	}
}

// TestMissingFolder: what is to be changed must be there.
func TestMissingFolder(t *testing.T) {
	if _, err := llsys.LandlockGetABIVersion(); err != nil {
		return // nothing is looked at
	}
	if _, err := Restrict(Folders{Change: []string{filepath.Join(t.TempDir(), "missing")}}, false); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("%v", err)
	}
}
