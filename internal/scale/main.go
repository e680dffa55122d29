// Scale computes what c8auth needs of AWS at a number of tenants and of vends a second, and
// what that costs a month. It prints the tables of docs/scale.md and docs/costs.md.
package main

import (
	"fmt"
	"math"
	"os"
	"sort"
	"strings"
	"time"
)

func main() {
	for _, table := range []string{assumptions(), rates(), resources(), hits(), remedies(), idleMonth(), millionVends()} {
		fmt.Fprintln(os.Stdout, table)
	}
}

var (
	tenants = []int{1, 100, 10_000}
	vends   = []float64{10, 100, 1_000, 10_000}
)

// table returns a Markdown table.
func table(rows ...[]string) string {
	var out strings.Builder
	for i, row := range rows {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			out.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return out.String()
}

// number returns n with at least two significant digits, and with commas.
func number(n float64) string {
	switch {
	case n == 0:
		return "0"
	case n < 0.001:
		return "under 0.001"
	case n < 0.01:
		return fmt.Sprintf("%.4f", n)
	case n < 1:
		return fmt.Sprintf("%.2f", n)
	case n < 10 && n != math.Trunc(n):
		return fmt.Sprintf("%.1f", n)
	}
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// percent returns a share of a quota.
func percent(share float64) string {
	switch {
	case share < 0.001:
		return "under 0.1 %"
	case share < 0.1:
		return fmt.Sprintf("%.1f %%", 100*share)
	case share > 2:
		return fmt.Sprintf("%.0f times", share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

func dollars(n float64) string {
	if n < 100 {
		return fmt.Sprintf("%.2f", n)
	}
	return number(math.Round(n))
}

// assumptions returns what the other tables assume.
func assumptions() string {
	return table([]string{"assumed", "", "because"},
		[]string{"lifetime of a token", fmt.Sprintf("%.0f hours", lifetime.Hours()), "the example of Communic8's documentation; half of it is the age of rotation"},
		[]string{"heartbeat", fmt.Sprintf("%.0f minutes", heartbeat.Minutes()), "tenant.yaml"},
		[]string{"vend reads a token again after", fmt.Sprintf("%.0f minute", cacheTTL.Minutes()), "`C8AUTH_CACHE_TTL` in template.yaml"},
		[]string{"vends", "spread evenly over tenants and sandboxes", "the worst case for a cache"},
		[]string{"sandboxes of vend", fmt.Sprintf("one for each %d vends a second", perSandbox), "Lambda's quota of requests for each sandbox; fewer would read the store less"},
		[]string{"a vend, a heartbeat", fmt.Sprintf("%d ms, %d ms at %.0f MB", vendTime/time.Millisecond, rotateTime/time.Millisecond, 1024*memory), "[Performance](performance.md) for vend; rotate waits for Secrets Manager and Communic8"},
		[]string{"requests to KMS", "one for each GetSecretValue, two for each PutSecretValue", "AWS's documentation of Secrets Manager"},
		[]string{"log bytes of a heartbeat, a vend", fmt.Sprintf("%s, %s", number(rotateLine+2*platformLine), number(vendLine+2*platformLine+accessLine)), "the functions' own lines were measured, those of Lambda and API Gateway were not"},
		[]string{"a month", fmt.Sprintf("%.0f hours without failures", month.Hours()), "AWS's calculators use as many"},
	)
}

// rates returns the requests of each load, with their share of the quotas.
func rates() string {
	rows := [][]string{{"tenants", "vends a second", "API Gateway, requests a second", "Lambda, concurrency", "Secrets Manager, reads a second", "Secrets Manager, writes a second", "KMS, requests a second", "Scheduler, invocations a second"}}
	for _, t := range tenants {
		for _, v := range vends {
			l := load{t, v}
			row := []string{number(float64(t)), number(v)}
			for _, q := range quotas[:6] {
				used := q.used(l)
				row = append(row, fmt.Sprintf("%s (%s)", number(used), percent(used/q.limit)))
			}
			rows = append(rows, row)
		}
	}
	return table(rows...)
}

// resources returns what each number of tenants makes in an account.
func resources() string {
	rows := [][]string{{"tenants", "secrets", "schedules", "alarms", "CloudFormation stacks", "IAM customer managed policies"}}
	for _, t := range tenants {
		l := load{tenants: t}
		row := []string{number(float64(t)), number(float64(secretsPerTenant * t)), number(float64(t)), number(float64(alarms + alarmsPerTenant*t))}
		for _, q := range quotas[6:] {
			row = append(row, fmt.Sprintf("%s (%s)", number(q.used(l)), percent(q.used(l)/q.limit)))
		}
		rows = append(rows, row)
	}
	return table(rows...)
}

// hits returns the most used quota of each load, and the load's price.
func hits() string {
	rows := [][]string{{"tenants", "vends a second", "most used quota", "used", "a month in US dollars"}}
	for _, t := range tenants {
		for _, v := range vends {
			l := load{t, v}
			first, share := l.hit()
			list, _ := l.total()
			rows = append(rows, []string{number(float64(t)), number(v), first.name, percent(share), dollars(list)})
		}
	}
	return table(rows...)
}

// remedies returns the quotas, which number of tenants and which rate of vends reaches them, and
// what to do then.
func remedies() string {
	rows := [][]string{{"quota", "default", "reached by tenants without vends", "reached by vends a second of 10,000 tenants", "then"}}
	for _, q := range quotas {
		byTenants := least(q.limit, func(n float64) float64 { return q.used(load{tenants: int(n)}) })
		byVends := least(q.limit, func(v float64) float64 { return q.used(load{10_000, v}) })
		rows = append(rows, []string{q.name, number(q.limit), byTenants, byVends, q.remedy})
	}
	return table(rows...)
}

// least returns the smallest n for which f, which grows with it, reaches the limit.
func least(limit float64, f func(n float64) float64) string {
	const most = 1 << 32
	if f(0) >= limit {
		return "–"
	}
	n := sort.Search(most, func(n int) bool { return f(float64(n)) >= limit })
	if n == most {
		return "never"
	}
	return number(float64(n))
}

// idleMonth returns the bill of one tenant without vends.
func idleMonth() string {
	rows := [][]string{{"one tenant, no vends", "amount", "list price", "after what is always free"}}
	one := load{tenants: 1}
	for _, i := range one.bill() {
		if i.amount == 0 {
			continue
		}
		rows = append(rows, []string{i.name, number(i.amount), dollars(i.list()), dollars(i.due())})
	}
	list, due := one.total()
	rows = append(rows, []string{"**together**", "", "**" + dollars(list) + "**", "**" + dollars(due) + "**"})
	two, _ := load{tenants: 2}.total()
	return table(rows...) + fmt.Sprintf("\nAnother tenant: %s at list price.\n", dollars(two-list))
}

// millionVends returns the price of a million vends by three designs.
func millionVends() string {
	const million = 1e6
	oneSandbox := (month.Seconds() / cacheTTL.Seconds()) // reads of one sandbox that is busy all month
	logs := million * (vendLine + 2*platformLine + accessLine) * priceLog[0].price
	designs := []struct {
		name            string
		gateway, millis float64
		reads           float64
	}{
		{"REST API, from memory: c8auth", 3.50, 1, oneSandbox},
		{"REST API, a read for each", 3.50, 10, million},
		{"HTTP API, from memory", 1.00, 1, oneSandbox},
	}
	rows := [][]string{{"a million vends"}, {"API Gateway"}, {"Lambda"}, {"Secrets Manager and KMS"}, {"logs"}, {"**together**"}}
	for _, d := range designs {
		lambda := million * (priceInvoke[0].price + memory*d.millis/1000*priceCompute[0].price)
		store := d.reads * (priceCall[0].price + priceKeyUse[0].price)
		for i, cell := range []string{d.name, dollars(d.gateway), dollars(lambda), dollars(store), dollars(logs), "**" + dollars(d.gateway+lambda+store+logs) + "**"} {
			rows[i] = append(rows[i], cell)
		}
	}
	return table(rows...)
}
