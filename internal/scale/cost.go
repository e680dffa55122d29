package main

// What a load costs in a month, in US dollars, at the list prices of us-east-1.

// tier is a price up to an amount, 0 for what is beyond the tiers before.
type tier struct{ upTo, price float64 }

// Prices, each for one unit.
var (
	priceSecret   = []tier{{0, 0.40}}
	priceCall     = []tier{{0, 0.05 / 10_000}} // of Secrets Manager
	priceKey      = []tier{{0, 1.00}}
	priceKeyUse   = []tier{{0, 0.03 / 10_000}}
	priceMetric   = []tier{{10_000, 0.30}, {250_000, 0.10}, {1_000_000, 0.05}, {0, 0.02}}
	priceAlarm    = []tier{{0, 0.10}}
	priceBoard    = []tier{{0, 3.00}}
	priceLog      = []tier{{0, 0.50 / 1e9}} // a byte
	priceInvoke   = []tier{{0, 0.20 / 1e6}}
	priceCompute  = []tier{{0, 0.0000133334}} // a GB-second on arm64
	priceSchedule = []tier{{0, 1.00 / 1e6}}
	priceRequest  = []tier{{333e6, 3.50 / 1e6}, {1e9, 2.80 / 1e6}, {20e9, 2.38 / 1e6}, {0, 1.51 / 1e6}} // of a REST API
)

// item is a line of the bill.
type item struct {
	name   string
	amount float64
	prices []tier
	free   float64 // how much of the amount is free in every month of every account
}

// list returns the item's price without what is free.
func (i item) list() float64 { return price(i.prices, i.amount) }

// due returns the item's price.
func (i item) due() float64 { return price(i.prices, max(0, i.amount-i.free)) }

func price(prices []tier, amount float64) (sum float64) {
	var before float64
	for _, t := range prices {
		part := amount - before
		if t.upTo > 0 {
			part = min(amount, t.upTo) - before
		}
		sum += max(0, part) * t.price
		before = t.upTo
	}
	return sum
}

// bill returns what a month of the load consists of.
func (l load) bill() []item {
	seconds := month.Seconds()
	tenants := float64(l.tenants)
	beats := l.heartbeats() * seconds
	vends := l.vends * seconds
	// TokenLifePercent and UpstreamMilliseconds are reported by every heartbeat,
	// RotationSucceeded in as many hours of a day as there are rotations, and Vended and
	// StoreReads in every hour if there are vends: a metric is billed by the hour.
	metrics := tenants * (2 + float64(rotationsPerDay)/24)
	if l.vends > 0 {
		metrics += 2 * tenants
	}
	return []item{
		{"secrets", secretsPerTenant * tenants, priceSecret, 0},
		{"calls of Secrets Manager", (l.storeReads() + l.storeWrites()) * seconds, priceCall, 0},
		{"the key", 1, priceKey, 0},
		{"requests to KMS", l.keyUses() * seconds, priceKeyUse, 20_000},
		{"metrics", metrics, priceMetric, 10},
		{"alarms", alarms + alarmsPerTenant*tenants, priceAlarm, 10},
		{"the dashboard", 1, priceBoard, 3},
		{"bytes of logs", beats*(rotateLine+2*platformLine) + vends*(vendLine+2*platformLine+accessLine), priceLog, 5e9},
		{"invocations of Lambda", beats + vends, priceInvoke, 1e6},
		{"GB-seconds of Lambda", memory * (beats*rotateTime.Seconds() + vends*vendTime.Seconds()), priceCompute, 400_000},
		{"invocations of EventBridge Scheduler", beats, priceSchedule, 14e6},
		{"requests to API Gateway", vends, priceRequest, 0},
	}
}

// total returns the price of a month at list prices, and after what is free.
func (l load) total() (list, due float64) {
	for _, i := range l.bill() {
		list += i.list()
		due += i.due()
	}
	return list, due
}
