// Says on the page what failed, instead of leaving it blank. A plain old script of its own, so that it also runs
// where the page's program is missing, blocked or not understood by the browser.
(function () {
  "use strict";

  function show(what) {
    var place = document.getElementById("graphiql");
    if (!place || place.getAttribute("data-state") === "ready") return;
    var box = document.createElement("div");
    var title = document.createElement("h1");
    var text = document.createElement("p");
    box.className = "plain-message";
    box.setAttribute("role", "alert");
    title.appendChild(document.createTextNode("GraphiQL could not start"));
    text.appendChild(
      document.createTextNode(
        what + " Reload the page. The API does not need this page: it answers POST requests to the same address."
      )
    );
    box.appendChild(title);
    box.appendChild(text);
    while (place.firstChild) place.removeChild(place.firstChild);
    place.appendChild(box);
    place.setAttribute("data-state", "failed");
  }

  function showWhenParsed(what) {
    if (document.getElementById("graphiql")) show(what);
    else document.addEventListener("DOMContentLoaded", function () { show(what); });
  }

  window.addEventListener(
    "error",
    function (event) {
      var element = event.target;
      if (element && element.tagName === "SCRIPT") {
        showWhenParsed("The file " + element.getAttribute("src") + " did not load.");
      } else if (event.message) {
        showWhenParsed("The page's program stopped with: " + event.message + ".");
      }
    },
    true
  );

  window.graphiqlFailed = function (error) {
    var place = document.getElementById("graphiql");
    if (place) place.removeAttribute("data-state");
    show("The page's program stopped with: " + (error && error.message ? error.message : error) + ".");
  };
})();
