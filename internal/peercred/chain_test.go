package peercred

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// fields are those of a line of /proc/PID/stat after the name.
func fields(parent int, start int64) string {
	return fmt.Sprintf(") S %d 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", parent, start)
}

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		line string
		want stat
		err  string
	}{
		{"7 (bash" + fields(4, 250), stat{"bash", 4, 2500 * time.Millisecond}, ""},
		{"7 (a) S 1 (b" + fields(4, 0), stat{"a) S 1 (b", 4, 0}, ""},
		{"7 ()" + fields(0, 1)[1:], stat{"", 0, 10 * time.Millisecond}, ""},
		{"", stat{}, "no name"},
		{"7 )(", stat{}, "no name"},
		{"7 (bash) S 4", stat{}, "4 fields"},
		{"7 (bash" + strings.Replace(fields(4, 0), " 4 ", " x ", 1), stat{}, `parent "x"`},
		{"7 (bash" + fields(-4, 0), stat{}, `parent "-4"`},
		{"7 (bash" + fields(4, -1), stat{}, `start time "-1"`},
		{"7 (bash" + fields(4, math.MaxInt64), stat{}, "start time"},
	} {
		got, err := parseStat([]byte(c.line))
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: %+v, %v; want %+v, %q", c.line, got, err, c.want, c.err)
		}
	}
}

// TestChainEnds is where a chain must end although there are more processes.
func TestChainEnds(t *testing.T) {
	hidden := errors.New("hidden")
	for _, c := range []struct {
		name  string
		stats map[int]stat
		want  Chain
	}{
		{"at init", map[int]stat{7: {"a", 4, 9}, 4: {"b", 1, 8}, 1: {"init", 0, 1}}, Chain{{7, "/bin/7"}, {4, "4"}, {1, "1"}}},
		{"at what cannot be read", map[int]stat{7: {"a", 4, 9}}, Chain{{7, "/bin/7"}}},
		{"at a number of another", map[int]stat{7: {"a", 4, 9}, 4: {"b", 1, 10}}, Chain{{7, "/bin/7"}}},
		{"names of themselves", map[int]stat{13: {"own name", 1, 9}, 1: {"init", 0, 9}}, Chain{{13, "own name"}, {1, "1"}}},
	} {
		p := proc{
			func(pid int) (stat, error) {
				if s, ok := c.stats[pid]; ok {
					return s, nil
				}
				return stat{}, hidden
			},
			func(pid int) (string, error) {
				if pid == 13 {
					return "", hidden
				}
				return fmt.Sprintf("/bin/%d", pid), nil
			},
		}
		got, start, err := p.chain(c.want[0].PID)
		if err != nil || start != 9 || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v, %v; want %v", c.name, got, start, err, c.want)
		}
		if _, _, err := p.chain(99); !errors.Is(err, hidden) {
			t.Errorf("%s: unknown process: %v", c.name, err)
		}
	}
	circle := proc{func(pid int) (stat, error) { return stat{"a", pid, 1}, nil }, func(int) (string, error) { return "", hidden }}
	if c, _, err := circle.chain(7); err != nil || len(c) != limits.ProcessChain {
		t.Errorf("circle: %d processes, %v", len(c), err)
	}
	if text := (Chain{{7, "/bin/a"}, {1, "init"}}).String(); text != "7 /bin/a, 1 init" {
		t.Errorf("%q", text)
	}
}
