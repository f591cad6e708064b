//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const clockTick = 10 * time.Millisecond // USER_HZ is 100 on every Linux Go runs on

// procStat is one line of /proc/PID/stat: its parent and the CPU time of the
// process and of its children that have ended.
func procStat(pid int) (ppid int, cpu time.Duration, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+2:]))
	ppid, _ = strconv.Atoi(f[1])
	for _, s := range f[11:15] { // utime stime cutime cstime
		n, _ := strconv.ParseInt(s, 10, 64)
		cpu += time.Duration(n) * clockTick
	}
	return ppid, cpu, nil
}

// tree returns pid and its living descendants.
func tree(pid int) []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		p, _ := strconv.Atoi(filepath.Base(d))
		if ppid, _, err := procStat(p); err == nil {
			children[ppid] = append(children[ppid], p)
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// treeCPU is the CPU time used so far by pid and its descendants.
func treeCPU(pid int) (sum time.Duration) {
	for _, p := range tree(pid) {
		if _, cpu, err := procStat(p); err == nil {
			sum += cpu
		}
	}
	return sum
}

// procField reads a "Name:   123 kB" line of a /proc file, in bytes.
func procField(pid int, file, name string) int64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			f := strings.Fields(v)
			n, _ := strconv.ParseInt(f[0], 10, 64)
			if len(f) > 1 && f[1] == "kB" {
				n *= 1024
			}
			return n
		}
	}
	return 0
}

// treeRSS is the memory of pid and its descendants, shared pages counted once
// where the kernel tells (proportional set size).
func treeRSS(pid int) (sum int64) {
	procs := tree(pid)
	for _, p := range procs {
		if pss := procField(p, "smaps_rollup", "Pss"); pss > 0 && len(procs) > 1 {
			sum += pss
		} else {
			sum += procField(p, "status", "VmRSS")
		}
	}
	return sum
}

func selfCPU() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// hostCPU is the CPU time used so far by everything on this machine, and the
// time its hypervisor gave to others.
func hostCPU() (busy, steal time.Duration) {
	raw, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(raw), "\n")
	for i, s := range strings.Fields(line)[1:] {
		n, _ := strconv.ParseInt(s, 10, 64)
		switch i {
		case 0, 1, 2, 5, 6: // user nice system irq softirq
			busy += time.Duration(n) * clockTick
		case 7:
			steal = time.Duration(n) * clockTick
		}
	}
	return busy, steal
}

// usage is what a watched process (and its descendants) used during a run.
type usage struct {
	Name      string        `json:"name"`
	CPU       time.Duration `json:"cpu_ns"`
	PeakRSS   int64         `json:"peak_rss"`
	SteadyRSS int64         `json:"steady_rss"` // median of the second half of the run
}

// watch starts to observe pid; the returned function stops and reports.
func watch(name string, pid int) func() usage {
	start, stop, done := treeCPU(pid), make(chan bool), make(chan bool)
	var rss []int64
	go func() {
		defer close(done)
		for tick := time.NewTicker(500 * time.Millisecond); ; {
			rss = append(rss, treeRSS(pid))
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	return func() usage {
		u := usage{Name: name, CPU: treeCPU(pid) - start}
		close(stop)
		<-done
		u.PeakRSS = slices.Max(rss)
		half := slices.Sorted(slices.Values(rss[len(rss)/2:]))
		u.SteadyRSS = half[len(half)/2]
		return u
	}
}
