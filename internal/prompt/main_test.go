package prompt

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/secret"
)

// The test binary is also the fake pinentry and the fake SSH_ASKPASS: this
// variable says how it behaves.
const role = "SEALSMITH_TEST_PROMPT"

func TestMain(m *testing.M) {
	switch kind, rest, _ := strings.Cut(os.Getenv(role), ":"); kind {
	case "pinentry":
		pinentryMain(rest)
	case "askpass":
		askpassMain(rest)
	default:
		secret.OnLeak(func(size int) { panic(fmt.Sprintf("a secret of %d bytes was never wiped", size)) })
		os.Exit(m.Run())
	}
}

// pinentryMain speaks like pinentry and answers GETPIN and CONFIRM with lines
// separated by "|". It logs what it was told into the file TEST_LOG.
func pinentryMain(answer string) {
	log, err := os.OpenFile(os.Getenv("TEST_LOG"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(1)
	}
	fmt.Println("OK Pleased to meet you")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		line := in.Text()
		fmt.Fprintln(log, line)
		switch word, _, _ := strings.Cut(line, " "); {
		case word == "OPTION" && strings.Contains(line, "ttytype"):
			fmt.Println("ERR 83886254 Unknown option <Pinentry>")
		case word != "GETPIN" && word != "CONFIRM":
			fmt.Println("OK")
		case answer == "hang" || answer == "stubborn":
			hang(log, answer)
		case answer == "die":
			os.Exit(7)
		case answer == "stay":
			signalIgnoringWait()
		default:
			for part := range strings.SplitSeq(answer, "|") {
				fmt.Println(part)
			}
		}
	}
}

// hang waits for a signal, logs it and leaves, unless it is stubborn.
func hang(log io.Writer, kind string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Fprintln(log, "pid", os.Getpid())
	for s := range signals {
		fmt.Fprintln(log, s)
		if kind == "hang" {
			os.Exit(0)
		}
	}
}

// signalIgnoringWait answers, then ignores that its input ends.
func signalIgnoringWait() {
	fmt.Println("OK")
	io.Copy(io.Discard, os.Stdin)
	time.Sleep(time.Hour)
}

// askpassMain prints its answer and leaves with the status in front of it.
func askpassMain(answer string) {
	if path := os.Getenv("TEST_LOG"); path != "" {
		log, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			os.Exit(9)
		}
		fmt.Fprintf(log, "%s\n%s\n", os.Getenv("SSH_ASKPASS_PROMPT"), strings.Join(os.Args[1:], "|"))
		if answer == "hang" || answer == "stubborn" {
			hang(log, answer)
		}
	}
	status, text, _ := strings.Cut(answer, ",")
	fmt.Print(strings.ReplaceAll(text, "|", "\n"))
	switch status {
	case "0":
	case "signal":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	default:
		syscall.Exit(1)
	}
}
