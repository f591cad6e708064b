// Goes on after a sign-out. The browser does so by itself once every frame is there; one that never answers must not keep anybody.
const on = document.getElementById("logout-continue") || document.getElementById("go-link");
if (on) setTimeout(() => location.replace(on.href), 4000);
