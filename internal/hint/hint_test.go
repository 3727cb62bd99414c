package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
)

func TestHintsTravelThroughWrapping(t *testing.T) {
	inner := Wrap(fs.ErrNotExist, "inner", "twice")
	joined := errors.Join(fmt.Errorf("open: %w", inner), Wrap(errors.New("other"), "joined", "twice"))
	err := Wrap(fmt.Errorf("step: %w", joined), "outer")

	if got, want := Of(err), []string{"outer", "inner", "twice", "joined"}; !slices.Equal(got, want) {
		t.Errorf("hints %q, want %q", got, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the wrapped error is lost")
	}
	if err.Error() != "step: open: file does not exist\nother" {
		t.Errorf("the text changed: %q", err)
	}
	if Wrap(nil, "hint") != nil {
		t.Error("nil became an error")
	}
	if got := Of(nil); got != nil {
		t.Errorf("hints of nil: %q", got)
	}
}
