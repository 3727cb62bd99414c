package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

func (a *app) agentAuditVerify() *cobra.Command {
	var head string
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "check that the audit log is what the agent wrote",
		Long: `Verify checks the chain of the audit log: that no record was changed, removed or put in
between. Without FILE it checks the agent's own log, with the files that were set aside
when they were full.

Who can write to the log can write all of it anew, or cut off its end: the chain alone
shows neither. Keep the head that verify prints where they cannot change it. With it, a
later check proves that all is there that was there then:

  sealsmith agent audit verify
  sealsmith agent audit verify --head 1f0c...

Exit status 3 says that the log is not what was written, or does not have the head.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if head != "" && !headGrammar.MatchString(head) {
				return usageError(fmt.Errorf("--head %.80q is not the 64 digits that verify prints", head))
			}
			path, own := xdg.AuditLog(), true
			if len(args) > 0 {
				path, own = args[0], false
			}
			found, err := agent.CheckAuditLog(path, own, head)
			if own && errors.Is(err, fs.ErrNotExist) {
				return hint.Wrap(err, "the agent makes it with the first thing that it is asked to do")
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(found)
			}
			return a.printAudit(found)
		},
	}
	c.Flags().StringVar(&head, "head", "", "the `HEAD` of an earlier check, which a record must have")
	c.ValidArgsFunction = completeFirstFile
	return c
}

var headGrammar = regexp.MustCompile(`^[0-9a-f]{64}$`)

// printAudit says what the check proves, and no more.
func (a *app) printAudit(c agent.AuditCheck) error {
	if c.Last == 0 {
		a.say("nothing is proven: the log has no chained record")
	} else {
		if _, err := fmt.Fprintf(a.Out, "consistent: records %d to %d\nhead: %s\n", c.First, c.Last, c.Head); err != nil {
			return err
		}
	}
	if c.First > 1 {
		a.say("records 1 to %d are not here: old files are removed in time", c.First-1)
	}
	if c.Unchained > 0 {
		a.say("%d older records are not chained: nothing is known of them", c.Unchained)
	}
	for _, torn := range c.Torn {
		a.say("sealsmith: warning: %s, line %d is no record: a full disk or a crash cut it", torn.File, torn.Line)
	}
	if c.MoreTorn > 0 {
		a.say("sealsmith: warning: and %s more of that kind", plural(c.MoreTorn, "line"))
	}
	switch {
	case c.KeptHead > 0:
		a.say("up to record %d, which has the head that you kept, nothing was changed or cut off", c.KeptHead)
	case c.Last > 0:
		a.say("not proven: that no later record was cut off, or all of them written anew; keep the head for that")
	}
	return nil
}
