import axios from "axios";
import { Request, Response } from "express";

const MIRRORS: Record<string, string> = { one: "https://one.internal/list" };

app.get("/fetch", async (req: Request, res: Response) => {
  const url = req.query.url as string;
  // ruleid: javascript-ssrf
  await axios.get(url);
  // ruleid: javascript-ssrf
  await fetch("http://" + req.body.host + "/hook");
  // ok: javascript-ssrf
  await axios.get(`https://api.internal/items/${url}`);
  // ok: javascript-ssrf
  await axios.get("https://api.internal/items", { params: { url } });
  // ok: javascript-ssrf
  await fetch(MIRRORS[req.params.mirror]);
});

app.get("/feed", async (req, res) => {
  const feed = feeds[String(req.query.feed)] ?? feeds.news;
  // ok: javascript-ssrf
  const answer = await axios.get(feed);
  res.json(answer.data);
});
