//go:build older

package conformance

import (
	"errors"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	sdk "github.com/daytona/clients/sdk-go/pkg/errors"
)

// Three classes of errors hold the common one and do not unwrap to it.
func statusOf(err error) int {
	var failure *sdk.DaytonaError
	var missing *sdk.DaytonaNotFoundError
	var limited *sdk.DaytonaRateLimitError
	var late *sdk.DaytonaTimeoutError
	switch {
	case errors.As(err, &missing):
		return missing.StatusCode
	case errors.As(err, &limited):
		return limited.StatusCode
	case errors.As(err, &late):
		return late.StatusCode
	case errors.As(err, &failure):
		return failure.StatusCode
	}
	return 0
}

func list(t *testing.T, labels map[string]string, perPage int) []*daytona.Sandbox {
	t.Helper()
	var found []*daytona.Sandbox
	for page := 1; ; page++ {
		answer, err := client.List(background, labels, &page, &perPage)
		check(t, err)
		equal(t, "the page", answer.Page, page)
		found = append(found, answer.Items...)
		if page >= answer.TotalPages {
			equal(t, "the total", answer.Total, len(found))
			return found
		}
	}
}
