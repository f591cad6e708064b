package templates

// What a TextAlarmMail tells of.
const (
	TextsAlarm   = "alarm"   // the day's messages cost more than usual
	TextsStopped = "stopped" // they have cost all that they may
	TextsPaused  = "paused"  // those to numbers that nobody has are held back
)

// TextAlarmMail tells administrators what became of the day's text messages. It names no number.
type TextAlarmMail struct {
	What   string // TextsAlarm, TextsStopped or TextsPaused
	PerDay string // with its currency
}

func (m TextAlarmMail) write(p *mailPage) {
	p.subject("mail.texts_" + m.What + "_subject")
	p.text("mail.texts_"+m.What, "App", p.AppName, "PerDay", m.PerDay)
	p.text("mail.texts_look")
}
