package prompt

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
)

func TestAskpass(t *testing.T) {
	for _, c := range []answers{
		{"typed", "0,1234|", "1234", false, nil},
		{"only the first line", "0,12 34|more", "12 34", false, nil},
		{"yes", "0,YES", "YES", true, nil},
		{"silent", "0,", "", true, ErrCancelled},
		{"cancelled", "1,1234", "", false, ErrCancelled},
		{"killed", "signal,1234", "", false, ErrUnavailable},
		{"control character", "0,12\x1b[A", "", false, ErrCancelled},
		{"longest", "0," + strings.Repeat("x", 255) + "|", strings.Repeat("x", 255), false, nil},
		{"too long", "0," + strings.Repeat("x", 256) + "|", "", false, errLongPIN},
		{"endless", "0," + strings.Repeat("x", 5000), "", false, errLongPIN},
	} {
		t.Run(c.name, func(t *testing.T) {
			program, _ := fake(t, "askpass:"+c.behaviour)
			c.run(t, &askpass{program})
		})
	}
	t.Run("told", func(t *testing.T) {
		program, log := fake(t, "askpass:0,")
		if err := (&askpass{program}).Confirm(t.Context(), question); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(log)
		if want := "confirm\n" + question.text(200, 200) + "\n"; err != nil || string(data) != want {
			t.Errorf("askpass was told %q, %v; want %q", data, err, want)
		}
	})
	t.Run("never ends", func(t *testing.T) {
		program, _ := fake(t, "askpass:0,"+strings.Repeat("x", 100<<10)) // more than a pipe holds
		if _, err := (&askpass{program}).PIN(t.Context(), question); !errors.Is(err, errLongPIN) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		err := (&askpass{"/nonexistent"}).Confirm(t.Context(), question)
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, fs.ErrNotExist) || len(hint.Of(err)) != 1 {
			t.Errorf("got %v, hints %q", err, hint.Of(err))
		}
	})
}

func TestNobody(t *testing.T) {
	n := Nobody("nobody is there", "find somebody")
	err := n.Confirm(t.Context(), question)
	if _, pinErr := n.PIN(t.Context(), question); !errors.Is(err, ErrUnavailable) || !errors.Is(pinErr, ErrUnavailable) {
		t.Errorf("nobody answered %v, %v", err, pinErr)
	}
	if got := hint.Of(err); len(got) != 1 || got[0] != "find somebody" {
		t.Errorf("hints %q", got)
	}
}

// TestAskpassOption: to a program that draws windows, --gtk-module=FILE is no text.
func TestAskpassOption(t *testing.T) {
	program, log := fake(t, "askpass:0,1234")
	for _, q := range []Prompt{{Title: "--gtk-module=/tmp/x"}, {Title: "Sign?", Error: "-display"}} {
		if _, err := (&askpass{program}).PIN(t.Context(), q); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	if data, err := os.ReadFile(log); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("asked all the same: %q, %v", data, err)
	}
}
