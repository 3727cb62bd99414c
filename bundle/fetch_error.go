package bundle

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Failure is one certificate that could not be had.
type Failure struct {
	Entry Entry
	Err   error
}

// Error implements error, in one line.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s %q %s: %s", f.Entry.Vendor, f.Entry.Name, f.Entry.URL, oneLine(f.Err.Error()))
}

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Err }

// FetchError lists all certificates that could not be had.
type FetchError struct {
	Total    int // how many were wanted
	Failures []*Failure
}

// Error implements error: a line for the count, one for each host and one for each
// failure. Where no site at all can be found, the reason alone says it all.
func (e *FetchError) Error() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d of %d certificates cannot be had:", len(e.Failures), e.Total)
	if cause, ok := e.NoNetwork(); ok {
		fmt.Fprintf(&s, " no site can be found: %s", oneLine(cause.Error()))
		return s.String()
	}
	byHost := map[string][]*Failure{}
	var hosts []string
	for _, f := range e.Failures {
		host := hostOf(f.Entry.URL)
		if byHost[host] == nil {
			hosts = append(hosts, host)
		}
		byHost[host] = append(byHost[host], f)
	}
	for _, host := range hosts {
		fmt.Fprintf(&s, "\n  %d at %s:", len(byHost[host]), host)
		for _, f := range byHost[host] {
			s.WriteString("\n    " + f.Error())
		}
	}
	return s.String()
}

// NoNetwork says whether there is no way to any of several sites, and nothing else is
// wrong.
func (e *FetchError) NoNetwork() (cause error, ok bool) {
	several := false
	for _, f := range e.Failures {
		if _, ok := errors.AsType[*noWayError](f); !ok {
			return nil, false
		}
		several = several || hostOf(f.Entry.URL) != hostOf(e.Failures[0].Entry.URL)
		cause = f.Err
	}
	return cause, several && len(e.Failures) == e.Total
}

// Unwrap returns the failures.
func (e *FetchError) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f
	}
	return errs
}

// oneLine makes an error's text, which may repeat what a site sent, fit to be
// shown.
func oneLine(s string) string {
	if checkPrintable(s) != nil {
		return quote(s)
	}
	if len(s) > limits.BundleText {
		return strings.ToValidUTF8(s[:limits.BundleText], "") + "..."
	}
	return s
}
