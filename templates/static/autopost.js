// Sends the response of an authorization request on to the application. Without script there is a button.
// The prototype's method, because a field may be called "submit" and hide the form's own.
HTMLFormElement.prototype.submit.call(document.getElementById("form-post-response"));
