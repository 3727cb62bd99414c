package hint

import "errors"

type hinted struct {
	error
	hints []string
}

// Unwrap gives errors.Is and errors.As the error under the hints.
func (h *hinted) Unwrap() error { return h.error }

// Wrap adds hints to an error; nil stays nil. The text of the error does not
// change.
func Wrap(err error, hints ...string) error {
	if err == nil || len(hints) == 0 {
		return err
	}
	return &hinted{err, hints}
}

// Of collects the hints of an error and of all that it wraps, outermost first,
// each once.
func Of(err error) []string {
	var all []string
	seen := map[string]bool{}
	var walk func(error)
	walk = func(err error) {
		if h, ok := err.(*hinted); ok {
			for _, text := range h.hints {
				if !seen[text] {
					seen[text] = true
					all = append(all, text)
				}
			}
		}
		switch u := err.(type) {
		case interface{ Unwrap() []error }:
			for _, e := range u.Unwrap() {
				walk(e)
			}
		default:
			if next := errors.Unwrap(err); next != nil {
				walk(next)
			}
		}
	}
	if err != nil {
		walk(err)
	}
	return all
}
