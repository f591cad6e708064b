// Passkeys. A form with data-passkey asks the browser for one ("get") or to make one ("create"), and sends what it says. Where the browser can't, the
// forms stay hidden, and other ways are on the page.

const able = Boolean(
  window.PublicKeyCredential?.parseCreationOptionsFromJSON && PublicKeyCredential.parseRequestOptionsFromJSON && PublicKeyCredential.prototype.toJSON,
);
const forms = document.querySelectorAll("form[data-passkey]");
let waiting = null; // the request that autofill waits for: a browser has one at a time

// say tells in the form's live region what happened; the texts are the page's.
function say(form, key) {
  form.querySelector("[role=status]").textContent = key ? form.dataset[key] : "";
}

async function options(form) {
  const body = new URLSearchParams({ form_token: form.elements.form_token.value });
  const answer = await fetch(form.dataset.options, { method: "POST", body });
  if (!answer.ok || answer.redirected) throw new Error(`options: ${answer.status}`);
  return (await answer.json()).publicKey;
}

function send(form, credential) {
  form.elements.credential.value = JSON.stringify(credential);
  const remember = document.querySelector("form:not([data-passkey]) input[name=remember]");
  if (form.elements.remember && remember?.checked) form.elements.remember.value = "1";
  HTMLFormElement.prototype.submit.call(form); // a field may be called "submit"
}

const texts = { NotAllowedError: "closed", AbortError: "closed", InvalidStateError: "known" };

async function run(form) {
  const button = form.querySelector("button");
  if (button.disabled) return;
  button.disabled = true;
  waiting?.abort();
  say(form, "");
  try {
    const json = await options(form);
    send(
      form,
      form.dataset.passkey === "create"
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(json) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(json) }),
    );
  } catch (error) {
    say(form, texts[error.name] ?? "failed");
    autofill(form);
  } finally {
    button.disabled = false;
  }
}

// autofill lets the browser offer passkeys in the field of the name. A challenge is good for five minutes, so it is asked for anew, for an hour.
async function autofill(form) {
  if (!("autofill" in form.dataset) || !(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  for (let round = 0; round < 15; round++) {
    const stop = new AbortController();
    let old = false;
    waiting = stop;
    try {
      const json = await options(form);
      if (stop.signal.aborted) return;
      const timer = setTimeout(() => {
        old = true;
        stop.abort();
      }, 240_000);
      try {
        const found = await navigator.credentials.get({
          publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(json),
          mediation: "conditional",
          signal: stop.signal,
        });
        return send(form, found);
      } finally {
        clearTimeout(timer);
      }
    } catch {
      if (!old) return; // the button, or the person typed
    }
  }
}

if (able) {
  for (const form of forms) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      delete form.dataset.sent; // ui.js counts it, and nothing was sent
      run(form);
    });
    autofill(form);
  }
  for (const note of document.querySelectorAll("[data-passkey-missing]")) note.hidden = true;
  for (const field of document.querySelectorAll("input[data-passkey-able]")) field.value = "1";
}

// A passkey that is gone here would be offered again and again: its keeper may forget it.
const gone = document.querySelector("[data-passkey-gone]")?.dataset;
if (gone && window.PublicKeyCredential?.signalUnknownCredential) {
  PublicKeyCredential.signalUnknownCredential({ rpId: gone.rp, credentialId: gone.passkeyGone }).catch(() => {}); // it may, and need not
}
