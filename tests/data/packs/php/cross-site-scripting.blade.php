<!-- ruleid: php-cross-site-scripting-blade -->
<p>{!! request('note') !!}</p>
<!-- ruleid: php-cross-site-scripting-blade -->
<p>{!! $_GET['note'] !!}</p>
<!-- ruleid: php-cross-site-scripting-blade -->
<p>{!! old('note') !!}</p>
<!-- ok: php-cross-site-scripting-blade -->
<p>{{ request('note') }}</p>
<!-- ok: php-cross-site-scripting-blade -->
<p>{!! $page->renderedHtml !!}</p>
