import React from "react";
import DOMPurify from "dompurify";

type Props = { text: string };

export function Note({ text }: Props) {
  // ruleid: javascript-cross-site-scripting-react
  return <div dangerouslySetInnerHTML={{ __html: text }} />;
}

export const Line = ({ text }: Props) => {
  // ruleid: javascript-cross-site-scripting-react
  return <p dangerouslySetInnerHTML={{ __html: text }} />;
};

export function CleanNote({ text }: Props) {
  // ok: javascript-cross-site-scripting-react
  return <div dangerouslySetInnerHTML={{ __html: DOMPurify.sanitize(text) }} />;
}

export function PlainNote({ text }: Props) {
  // ok: javascript-cross-site-scripting-react
  return <div>{text}</div>;
}
