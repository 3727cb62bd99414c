package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

const usage = `usage: sealsmith-agent [-c | -s] [-DdTU] [-a path] [-t life] [option ...]
       sealsmith-agent [-TU] [-a path] [-t life] [option ...] command [arg ...]
       sealsmith-agent [-c | -s] -k
       sealsmith-agent -u
`

// flags are the command line of sealsmith-agent.
type flags struct {
	shell                      shell
	foreground, debug, version bool
	kill                       bool
	temporary                  bool // the sockets are in a temporary folder
	sweep, noSweep             bool
	life                       time.Duration // of software keys; 0 is for ever
	ssh, control               string
	tpm, config, logFormat     string
	command                    []string

	// Somebody waits for it to serve, and goes then: stderr is not for its log.
	detached bool
}

// parseFlags reads the options of ssh-agent, and ours. It prints how to use them
// when they are asked for or are wrong.
func parseFlags(args []string, stderr io.Writer) (*flags, error) {
	f := &flags{}
	var csh, sh bool
	set := flag.NewFlagSet("sealsmith-agent", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.BoolVar(&csh, "c", false, "print for csh")
	set.BoolVar(&sh, "s", false, "print for sh")
	set.BoolVar(&f.foreground, "D", false, "stay in the foreground")
	set.BoolVar(&f.debug, "d", false, "stay in the foreground and log each step")
	set.BoolVar(&f.kill, "k", false, "end the agent that SSH_AGENT_PID names")
	set.BoolVar(&f.temporary, "T", false, "put the sockets into a folder of the temporary folder")
	set.BoolVar(&f.noSweep, "U", false, "leave what killed agents left behind")
	set.BoolVar(&f.sweep, "u", false, "remove what killed agents left behind, no more")
	set.BoolVar(&f.version, "V", false, "print the version")
	set.Func("a", "`path` of the ssh-agent socket; nothing must be there", path(&f.ssh))
	set.Func("t", "`life` of keys that are added without one: seconds, or as 1h30m", f.setLife)
	set.Func("E", "`hash` of the fingerprints in prompts: sha256", fingerprintHash)
	set.Func("P", "`patterns` of providers to load: none is loaded", func(string) error { return nil })
	set.Func("O", "`option` for keys of providers: there are none", providerOption)
	set.Func("control", "`path` of the control socket", path(&f.control))
	set.Func("tpm", "TPM `device`: a path, swtpm:DIR or unix:PATH", f.setTPM)
	set.Func("config", "configuration `file`", path(&f.config))
	set.StringVar(&f.logFormat, "log-format", "text", "text or json")
	err := set.Parse(expand(set, args))
	if err == nil {
		f.command = set.Args()
		err = f.check(sh, csh)
	}
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stderr, usage)
		set.SetOutput(stderr)
		set.PrintDefaults()
		return nil, err
	}
	if err != nil {
		return nil, &usageError{err}
	}
	f.shell.csh = csh || !sh && strings.HasSuffix(os.Getenv("SHELL"), "csh")
	return f, nil
}

// usageError is a command line that is wrong.
type usageError struct{ error }

// Unwrap lets errors.Is see the cause.
func (e *usageError) Unwrap() error { return e.error }

// expand writes options as package flag reads them: -sk is -s -k, and -aPATH is
// -a PATH. The first argument that is no option ends them.
func expand(set *flag.FlagSet, args []string) []string {
	var out []string
	takesValue := func(name string) bool {
		f := set.Lookup(name)
		if f == nil {
			return false
		}
		b, ok := f.Value.(interface{ IsBoolFlag() bool })
		return !ok || !b.IsBoolFlag()
	}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "--" {
		arg := args[0]
		args = args[1:]
		value := strings.HasPrefix(arg, "--") && !strings.Contains(arg, "=") && takesValue(arg[2:])
		if strings.HasPrefix(arg, "--") {
			out = append(out, arg)
		} else {
			for i, letter := range arg[1:] {
				out = append(out, "-"+string(letter))
				if takesValue(string(letter)) {
					rest := arg[1+i+len(string(letter)):]
					if value = rest == ""; !value {
						out = append(out, rest)
					}
					break
				}
			}
		}
		if value && len(args) > 0 {
			out = append(out, args[0])
			args = args[1:]
		}
	}
	return append(out, args...)
}

// check refuses options that contradict each other, those that ssh-agent refuses
// together.
func (f *flags) check(sh, csh bool) error {
	inFront := f.foreground || f.debug
	switch {
	case f.version:
	case sh && csh:
		return errors.New("-s and -c are for different shells")
	case f.foreground && f.debug:
		return errors.New("-d is -D with a log of each step")
	case len(f.command) > 0 && (sh || csh || inFront || f.kill || f.sweep):
		return fmt.Errorf("a command (%.80q) goes with none of -c -d -D -k -s -u", f.command[0])
	}
	f.foreground = inFront
	return nil
}

// path reads a path and resolves it: who evals what we print may be in another folder by
// then, and the agent itself is. An empty one is the value of a variable that is not set.
func path(to *string) func(string) error {
	return func(text string) (err error) {
		switch {
		case text == "":
			return errors.New("empty path")
		case strings.ContainsFunc(text, unicode.IsControl):
			return errors.New("path has a control character")
		}
		*to, err = filepath.Abs(text)
		return err
	}
}

func (f *flags) setTPM(device string) error {
	if device == "" {
		return errors.New("empty device")
	}
	f.tpm = device
	return nil
}

// setLife reads the time format of sshd_config(5): a sequence of numbers, each of
// which may have a unit.
func (f *flags) setLife(text string) error {
	units := map[byte]int64{'s': 1, 'm': 60, 'h': 3600, 'd': 24 * 3600, 'w': 7 * 24 * 3600}
	invalid := errors.New("invalid lifetime")
	if text == "" {
		return invalid
	}
	var total int64
	for text != "" {
		digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
		n, err := strconv.ParseInt(text[:digits], 10, 64)
		if err != nil || n > math.MaxUint32 {
			return invalid
		}
		unit := int64(1)
		if text = text[digits:]; text != "" {
			if unit = units[text[0]|0x20]; unit == 0 {
				return invalid
			}
			text = text[1:]
		}
		if total += n * unit; total > int64(limits.SoftwareLifetime/time.Second) {
			return invalid
		}
	}
	f.life = time.Duration(total) * time.Second
	return nil
}

// fingerprintHash accepts the hash of the fingerprints that prompts show.
func fingerprintHash(name string) error {
	if !strings.EqualFold(name, "sha256") {
		return hint.Wrap(errors.New("prompts show no such fingerprints"), "they show those of -E sha256")
	}
	return nil
}

// providerOption accepts ssh-agent's options. All are about keys of providers, and
// to refuse those is what each of them allows.
func providerOption(option string) error {
	known := []string{"no-restrict-websafe", "allow-remote-pkcs11"}
	if !slices.Contains(known, option) && !strings.HasPrefix(option, "websafe-allow=") {
		return errors.New("unknown option of ssh-agent")
	}
	return nil
}
