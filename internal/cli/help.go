package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// helpTopics has the command help refuse what it knows nothing about: cobra's own says
// so and ends well.
func helpTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		panic(err) // it was made just now
	}
	help.RunE = func(_ *cobra.Command, args []string) error {
		topic, rest, err := root.Find(args)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("no help about %.200q", rest[0])
		}
		if err != nil {
			return hint.Wrap(usageError(err), "see: "+topic.CommandPath()+" --help")
		}
		topic.InitDefaultHelpFlag()
		return topic.Help()
	}
}
