// Package bench prints figures, each as a ratio to a limit or a peer that was
// measured in the same run: a number of seconds means little on another machine.
// `make bench` runs it; without -figures it does nothing, so that no test of the
// project depends on time.
package bench

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

var (
	figures = flag.String("figures", "", "print the figures whose name matches this `regexp`")
	chosen  *regexp.Regexp
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *figures == "" {
		fmt.Println("no figures asked for; run: make bench")
		return
	}
	var err error
	if chosen, err = regexp.Compile(*figures); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// rounds is how often each side of a figure is measured, in turns; the median
// counts.
const rounds = 5

// wanted says whether a figure was asked for.
func wanted(name string) bool { return chosen.MatchString(name) }

// printFigure prints one line: name, value, unit, what it is compared with, and
// the ratio: 1 is as good as that, more is better.
func printFigure(name string, value float64, unit, versus string, ratio float64) {
	fmt.Printf("%s\t%.4g\t%s\t%s\t%.3f\n", name, value, unit, versus, ratio)
}

// median returns the middle value.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// seconds measures one call.
func seconds(f func()) float64 {
	start := time.Now()
	f()
	return time.Since(start).Seconds()
}

// inTurns measures ours and the other, one after the other, and returns the
// median of ours and the median of the rounds' ratios, ours to the other.
func inTurns(ours, other func() float64) (value, ratio float64) {
	var values, ratios []float64
	for range rounds {
		r, v := other(), ours()
		values, ratios = append(values, v), append(ratios, v/r)
	}
	return median(values), median(ratios)
}
