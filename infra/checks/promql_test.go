package checks

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

var prometheus = parser.NewParser(parser.Options{})

// metricsOf gives the names of the metrics of an expression, after checking that it can be
// parsed.
func metricsOf(t *testing.T, place, expression string) []string {
	t.Helper()
	tree, err := prometheus.ParseExpr(expression)
	if err != nil {
		t.Errorf("%s: %v", place, err)
		return nil
	}
	var names []string
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if selector, isOne := node.(*parser.VectorSelector); isOne {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names
}

// Time between two values of a series.
const step = time.Minute

// series are metrics of a test, in promtool's notation: `metric{label="x"} 0+1x60`. All of
// them end at the same moment.
type series []storage.Series

type sample struct {
	at    int64
	value float64
}

func (it sample) T() int64                      { return it.at }
func (it sample) ST() int64                     { return 0 }
func (it sample) F() float64                    { return it.value }
func (it sample) H() *histogram.Histogram       { return nil }
func (it sample) FH() *histogram.FloatHistogram { return nil }
func (it sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (it sample) Copy() chunks.Sample           { return it }

// The moment at which the series of a test end.
var end = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func load(t *testing.T, text string) series {
	t.Helper()
	var all series
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		its, values, err := prometheus.ParseSeriesDesc(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var samples []chunks.Sample
		for index, value := range values {
			before := time.Duration(len(values)-1-index) * step
			if !value.Omitted && !math.IsNaN(value.Value) {
				samples = append(samples, sample{end.Add(-before).UnixMilli(), value.Value})
			}
		}
		all = append(all, storage.NewListSeries(its, samples))
	}
	return all
}

func (its series) Querier(_, _ int64) (storage.Querier, error) { return its, nil }
func (its series) Close() error                                { return nil }
func (its series) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}
func (its series) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (its series) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	selected := found{next: -1}
	for _, one := range its {
		matches := true
		for _, matcher := range matchers {
			matches = matches && matcher.Matches(one.Labels().Get(matcher.Name))
		}
		if matches {
			selected.series = append(selected.series, one)
		}
	}
	return &selected
}

type found struct {
	series
	next int
}

func (it *found) Next() bool                        { it.next++; return it.next < len(it.series) }
func (it *found) At() storage.Series                { return it.series[it.next] }
func (it *found) Err() error                        { return nil }
func (it *found) Warnings() annotations.Annotations { return nil }

// holds says whether an expression has had a result in each minute of the last `lasting`,
// as an alert needs it to fire.
func (its series) holds(t *testing.T, expression string, lasting time.Duration) bool {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e7, Timeout: time.Minute, Parser: prometheus})
	for before := time.Duration(0); before <= lasting; before += step {
		query, err := engine.NewInstantQuery(context.Background(), its, nil, expression, end.Add(-before))
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		result := query.Exec(context.Background())
		vector, err := result.Vector()
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		if len(vector) == 0 {
			return false
		}
	}
	return true
}
