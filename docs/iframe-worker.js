// The search of the theme runs in a Worker, which browsers refuse to pages that are opened as
// files. There, its script runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(script) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = `<script src="${script}"></` + "script>";
      frame.addEventListener("load", () => {
        const inside = frame.contentWindow;
        inside.postMessage = (data) => {
          this.dispatchEvent(new MessageEvent("message", { data }));
        };
        this.deliver = (data) => {
          inside.dispatchEvent(new inside.MessageEvent("message", { data }));
        };
        this.waiting.forEach(this.deliver);
      });
      document.body.append(frame);
    }

    postMessage(data) {
      if (this.deliver) this.deliver(data);
      else this.waiting.push(data);
    }
  };
}
