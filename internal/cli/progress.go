package cli

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress makes a function that shows how far long work is, on stderr and only
// on a terminal, and one that removes the display. What is done before the eye
// can follow is not shown.
func (a *app) progress(what string) (update func(done, total int64), stop func()) {
	f, ok := a.Err.(*os.File)
	if !ok || a.quiet || !term.IsTerminal(int(f.Fd())) {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	start := time.Now()
	update = func(done, total int64) {
		if time.Since(start) < 300*time.Millisecond {
			return
		}
		if bar == nil {
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(f),
				progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(), progressbar.OptionShowCount())
		}
		_ = bar.Set64(done) // a display that fails is no failure of the work
	}
	return update, func() {
		if bar != nil {
			_ = bar.Clear()
		}
	}
}
