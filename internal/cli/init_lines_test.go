package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestWords has the programs read the paths that we write for them.
func TestWords(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	readers := map[string]func(path string) (text string, cmd *exec.Cmd){
		"ssh": func(path string) (string, *exec.Cmd) {
			return "IdentityAgent " + sshWord(path) + "\n", exec.Command(testenv.Need(t, testenv.SSH), "-G", "-F", file, "host")
		},
		"git": func(path string) (string, *exec.Cmd) {
			return "[user]\n\tsigningKey = " + gitWord(path) + "\n", exec.Command(testenv.Need(t, testenv.Git), "config", "-f", file, "user.signingKey")
		},
		"sh": func(path string) (string, *exec.Cmd) {
			return "echo " + shellWord(path) + "\n", exec.Command("sh", file)
		},
	}
	for name, read := range readers {
		for _, path := range []string{"/run/user/1000/s", "/a b/s", "/100%h/s", `/"quoted"/s`, "/it's/s", "/#;/s", "/dollar$HOME/s", "/ü/s"} {
			text, cmd := read(path)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := cmd.Output()
			want := path
			if name == "ssh" {
				want = "identityagent " + path
			}
			if err != nil || !strings.Contains("\n"+string(out), "\n"+want+"\n") {
				t.Errorf("%s does not read %q for %q (%v)", name, want, text, err)
			}
		}
	}
}

func TestFishWord(t *testing.T) {
	if got, want := fishWord(`it's a \ path`), `'it\'s a \\ path'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestProfile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("ZDOTDIR", "")
	for shell, want := range map[string]string{
		"/bin/sh": ".profile", "/bin/bash": ".profile", "/usr/bin/zsh": ".zprofile", "": ".profile", "/bin/tcsh": "",
	} {
		if want != "" {
			want = filepath.Join(home, want)
		}
		if got, fish := profile(home, shell); got != want || fish {
			t.Errorf("%s reads %q (fish: %v), want %q", shell, got, fish, want)
		}
	}
	if got, fish := profile(home, "/usr/bin/fish"); !strings.HasSuffix(got, "/fish/conf.d/sealsmith.fish") || !fish {
		t.Errorf("fish reads %q (fish: %v)", got, fish)
	}
	// bash reads only the first that there is.
	login := filepath.Join(home, ".bash_login")
	for _, name := range []string{login, filepath.Join(home, ".profile")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := profile(home, "/bin/bash"); got != login {
		t.Errorf("bash reads %q", got)
	}
	t.Setenv("ZDOTDIR", "/elsewhere")
	if got, _ := profile(home, "/bin/zsh"); got != "/elsewhere/.zprofile" {
		t.Errorf("zsh reads %q", got)
	}
}
