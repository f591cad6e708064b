package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-idp/latchkey/internal/privilege"
	"github.com/latchkey-idp/latchkey/store"
	"github.com/latchkey-idp/latchkey/templates"
)

// mostAlarmed is how many people an alarm is mailed to.
const mostAlarmed = 20

// alarmWords are what the log says of an alarm.
var alarmWords = map[string]string{
	templates.TextsAlarm:   "text messages of this day have nearly used up their budget",
	templates.TextsStopped: "text messages are stopped: they have used up the budget of this day",
	templates.TextsPaused:  "text messages to numbers that nobody has are held back: too few codes came back, or their share of the day is used up",
}

// textAlarm tells the operator, and by mail the people who may read the audit log, what became of the day's text messages: once a day and event, over all
// processes. It is called for every message after the event, so what costs the database is done once by each process.
func (s *Server) textAlarm(ctx context.Context, event string) {
	day := s.store.Now().UTC().Format(time.DateOnly)
	if before, _ := s.alarmed.Swap(event, day); before == day {
		return
	}
	spend := &s.cfg.Login.Phone.Spend
	err := s.store.Tx(context.WithoutCancel(ctx), func(ctx context.Context) error {
		first, err := s.store.Mark(ctx, "sms_alarm:"+event+":"+day, s.store.Now().Add(48*time.Hour))
		if err != nil || !first {
			return err
		}
		s.log.ErrorContext(ctx, alarmWords[event]+"; latchkey sms status says where they go, latchkey sms stop ends them", "per_day", spend.PerDay, "currency", spend.Currency)
		if err := s.store.Record(ctx, &store.Event{Kind: "sms_alarm", Data: fmt.Sprintf(`{"event":%q,"per_day":%q}`, event, spend.PerDay)}); err != nil {
			return err
		}
		return s.mailAlarm(ctx, event, day)
	})
	if err != nil {
		s.alarmed.CompareAndDelete(event, day)
		s.log.WarnContext(ctx, "alarm not told", "err", err)
	}
}

func (s *Server) mailAlarm(ctx context.Context, event, day string) error {
	set := s.mailTexts()
	if set == nil {
		return nil
	}
	people, err := s.watchers(ctx)
	if err != nil {
		return err
	}
	spend := &s.cfg.Login.Phone.Spend
	for i := range people {
		u := &people[i]
		text, err := set.Mail(u.Locale, templates.TextAlarmMail{What: event, PerDay: spend.PerDay + " " + spend.Currency})
		if err != nil {
			return err
		}
		err = s.store.Enqueue(ctx, &store.Message{Kind: store.KindMail, Recipient: u.Email, Subject: text.Subject, Text: text.Text, HTML: text.HTML,
			DedupeKey: "sms_alarm:" + event + ":" + day + ":" + u.ID, ExpiresAt: store.At(s.store.Now().Add(24 * time.Hour))})
		if err != nil {
			return err
		}
	}
	return nil
}

// watchers are people who may read the audit log and get mail.
func (s *Server) watchers(ctx context.Context) (list []store.User, err error) {
	m, err := s.store.Model(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, name := range m.Powers.Bringing(privilege.ViewAudit) {
		holders, err := s.store.Holders(ctx, name, "", mostAlarmed)
		if err != nil && !errors.Is(err, store.ErrNotFound) { // a directive may name a privilege that is no more
			return nil, err
		}
		for _, h := range holders {
			if !slices.Contains(ids, h.UserID) {
				ids = append(ids, h.UserID)
			}
		}
	}
	for _, id := range ids {
		l, err := s.store.Live(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.May(l, store.At(s.store.Now()), privilege.ViewAudit) && m.Reaches(&l.User, "", s.store.Now()) {
			list = append(list, l.User)
		}
		if len(list) == mostAlarmed {
			break
		}
	}
	return list, nil
}
