// Checks a Grafana dashboard, read from standard input: its fields as Grafana's own schema has them, and its values.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	// The types of panels and queries.
	plugins.RegisterDefaultPlugins()
	raw, err := io.ReadAll(os.Stdin)
	check("", err)
	parsed := dashboard.Dashboard{}
	// Unlike json.Unmarshal it names fields that Grafana does not know.
	check("", parsed.UnmarshalJSONStrict(raw))
	check("", parsed.Validate())
	// It does so for everything but these.
	var panels struct {
		Panels []struct {
			Title       string
			FieldConfig json.RawMessage
		}
	}
	check("", json.Unmarshal(raw, &panels))
	for _, panel := range panels.Panels {
		config := dashboard.FieldConfigSource{}
		check(panel.Title+": ", config.UnmarshalJSONStrict(panel.FieldConfig))
	}
}

func check(place string, err error) {
	// The library also returns empty lists of errors.
	if err != nil && err.Error() != "" {
		fmt.Fprintf(os.Stderr, "%s%v\n", place, err)
		os.Exit(1)
	}
}
