// Small improvements of forms that work without them.

// A button that shows what was typed as a password. Sending the form hides it again, so that browsers treat it as a password.
for (const input of document.querySelectorAll("input[type=password][data-show]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "reveal";
  button.setAttribute("aria-controls", input.id);
  const show = (visible) => {
    input.type = visible ? "text" : "password";
    button.textContent = visible ? input.dataset.hide : input.dataset.show;
    button.setAttribute("aria-label", visible ? input.dataset.hideLabel : input.dataset.showLabel);
  };
  show(false);
  button.addEventListener("click", () => show(input.type === "password"));
  input.form?.addEventListener("submit", () => show(false));
  input.after(button);
}

// The summary of errors takes the focus; its links lead into the fields, not only to them.
const summary = document.querySelector("[role=alert][tabindex]");
summary?.focus();
summary?.addEventListener("click", (event) => {
  const field = document.getElementById(event.target.closest("a")?.hash.slice(1) ?? "");
  if (field) {
    event.preventDefault();
    field.focus();
  }
});

// Where the browser can, it offers the code of a text message whose last line names this host, and asks the person first.
const code = document.querySelector("input[data-otp]");
if (code && "OTPCredential" in window) {
  const stop = new AbortController();
  code.form.addEventListener("submit", () => stop.abort());
  navigator.credentials.get({ otp: { transport: ["sms"] }, signal: stop.signal }).then(
    (found) => {
      code.value = found.code;
      code.form.requestSubmit();
    },
    () => {}, // no message, no permission, or it was typed
  );
}

// A form is sent once, however often its button is pressed. Coming back by the back button starts afresh.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});
